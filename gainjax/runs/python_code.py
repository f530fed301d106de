"""What identifies Python code that a compiled program calls back: its text does not contain it."""

import copyreg
import dis
import functools
import gc
import hashlib
import importlib
import importlib.util
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params

from gainjax.training.keys import is_key

IF_IT_CHANGES = (
    "If Python code that it calls back changes what it refers to, such as a cache or a counter, "
    "repeat the call in a new process"
)
_INSTALLED = {"site-packages", "dist-packages"}
_SIMPLE = (bool, int, float, complex, str, bytes, type(None), type(...))
_DEPTH = 4  # to which the elements of a set are compared, to order them
_ADDED = {  # to a class, by Python: not its code, or other in each process
    *("__module__", "__dict__", "__weakref__", "__doc__", "__annotations__", "__firstlineno__"),
    *("__static_attributes__", "__annotate_func__", "__annotations_cache__", "_abc_impl"),
    *("__dataclass_fields__", "__dataclass_params__"),
}
_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_NO_STEP = {"CACHE", "EXTENDED_ARG", "PUSH_NULL"}


def callbacks_of(jaxpr: Any) -> Iterator[Callable[..., Any]]:
    """Yield the Python functions whose results a traced program uses, at any depth.

    Args:
        jaxpr: The program. What it calls without a result, such as :func:`jax.debug.print`, does
            not affect its numbers.
    """
    for equation in jaxpr.eqns:
        found = equation.params.get("callback")
        if callable(found) and equation.outvars:
            yield getattr(found, "callback_func", found)
        for inner in jaxprs_in_params(equation.params):
            yield from callbacks_of(inner)


def code_mark(function: Callable[..., Any]) -> bytes:
    """Return a hash of what a Python function computes, the same in every process.

    It covers bytecode, constants, parameters, defaults, closures and attributes, the globals that
    the code loads, and whatever these refer to. Of a module of one's own, the names that the code
    takes from it count, or all of it if it is passed on or imported inside a function. Code of
    installed packages counts by its name, with the functions and values that it was given.

    It does not cover what code reads from elsewhere: files, environment variables, names computed
    while it runs, such as ``globals()[name]``. What the function itself changes, such as a cache or
    a counter, cannot be told from a constant and counts as it is at the call, so that later in the
    same process the mark is another one. Entries of a dictionary count in their order.

    Args:
        function: A function, a partial or bound one, or any callable object.

    Example:
        >>> code_mark(functools.partial(pow, 2)) == code_mark(functools.partial(pow, 2))
        True
        >>> code_mark(functools.partial(pow, 2)) == code_mark(functools.partial(pow, 3))
        False
    """
    digest = hashlib.sha256()
    found: list[Any] = [function]  # keeps everything alive, so that ids stay unique
    numbers = {id(function): 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of objects that will not be pickled any more
        for value in found:
            kind, parts = _parts(value)
            marks = [kind.encode()]
            for part in parts:
                mark = _simple_mark(part)
                if mark is None:
                    # The compiler may or may not share equal tuples and frozen sets.
                    if id(part) not in numbers or type(part) in (tuple, frozenset):
                        numbers[id(part)] = len(found)
                        found.append(part)
                    mark = f"#{numbers[id(part)]}".encode()
                marks.append(mark)
            digest.update(_hash(*marks))
    return digest.digest()


def _simple_mark(value: Any) -> bytes | None:
    """Return a hash of a value that refers to nothing else, None for others."""
    if type(value) in _SIMPLE:
        return _hash(type(value).__name__.encode(), repr(value).encode())
    if type(value) is np.ndarray or isinstance(value, np.generic | jax.Array):
        array = np.asarray(jax.random.key_data(value) if is_key(value) else value)  # type: ignore[arg-type]
        if not (array.dtype.hasobject or array.dtype.kind == "T"):  # else its bytes are addresses
            return _hash(f"array {array.dtype} {array.shape}".encode(), array.tobytes())
    return None


def _parts(value: Any) -> tuple[str, list[Any]]:
    """Return the kind of a value and the values that it consists of."""
    kind = type(value)
    if kind in (tuple, list):
        return kind.__name__, list(value)
    if kind in (set, frozenset):  # their order depends on the process
        return kind.__name__, sorted(value, key=_outline)
    if kind is dict:
        return "dict", [*value, *value.values()]
    if kind is np.ndarray:  # of objects
        return f"array {value.dtype} {value.shape}", value.ravel().tolist()
    if isinstance(value, CodeType):
        parameters = value.co_varnames[: value.co_argcount + value.co_kwonlyargcount]
        numbers = [value.co_argcount, value.co_posonlyargcount, value.co_flags]
        names = [value.co_names, value.co_freevars, parameters]
        return "code", [value.co_code, value.co_exceptiontable, *value.co_consts, *names, *numbers]
    if isinstance(value, FunctionType):
        return _function_parts(value)
    if isinstance(value, MethodType):
        return "method", [value.__func__, value.__self__]
    if isinstance(value, staticmethod | classmethod):
        return kind.__name__, [value.__func__]
    if isinstance(value, property):
        return "property", [value.fget, value.fset, value.fdel]
    if isinstance(value, weakref.ref):
        return "reference", [value()]
    if isinstance(value, type):
        if _is_installed(value.__module__):
            return f"class {value.__module__}.{value.__qualname__}", []
        own = [item for item in vars(value).items() if item[0] not in _ADDED]
        return f"class {value.__qualname__}", [*own, kind, *value.__bases__]
    if isinstance(value, ModuleType):
        if _is_installed(value.__name__):
            return f"module {value.__name__}", []
        return "module", [item for item in vars(value).items() if not item[0].startswith("__")]
    return "object", [kind, *_state(value)]


def _outline(value: Any, depth: int = _DEPTH) -> bytes:
    """Return a hash of a value and of what it consists of, down to a depth."""
    mark = _simple_mark(value)
    if mark is not None:
        return mark
    if depth == 0:
        return type(value).__name__.encode()
    kind, parts = _parts(value)
    return _hash(kind.encode(), *(_outline(part, depth - 1) for part in parts))


def _function_parts(function: FunctionType) -> tuple[str, list[Any]]:
    where = function.__globals__
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            cells.append(None)
    given = [function.__defaults__, function.__kwdefaults__]
    if not _is_installed(where.get("__name__", "")):
        loaded = list(_loaded(function.__code__, where))
        return "function", [function.__code__, *given, cells, vars(function), loaded]
    if hasattr(function, "registry") and hasattr(function, "dispatch"):  # functools.singledispatch
        cells = [function.registry]  # the others are caches
    return f"function {where['__name__']}.{function.__qualname__}", [*given, cells]


def _loaded(code: CodeType, where: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the globals that code and the functions inside it load.

    Args:
        code: The code.
        where: The globals of its module.
    """
    steps = [step for step in dis.get_instructions(code) if step.opname not in _NO_STEP]
    value: Any = None  # a module of one's own, from which the next step takes a name
    for step, after in pairwise([*steps, steps[-1]]):
        if step.opname in _LOADS and step.argval in where:
            value = where[step.argval]
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and value is not None:
            value = getattr(value, step.argval, None)
        else:
            value = None
            continue
        is_own = isinstance(value, ModuleType) and not _is_installed(value.__name__)
        if not (is_own and after.opname in ("LOAD_ATTR", "LOAD_METHOD")):
            yield value
            value = None
    for level, names, step in zip(steps, steps[1:], steps[2:], strict=False):
        if step.opname == "IMPORT_NAME":
            yield from _imported("." * level.argval + step.argval, names.argval, where)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _loaded(inner, where)


def _imported(name: str, taken: Any, where: Mapping[str, Any]) -> Iterator[ModuleType]:
    """Yield the modules of one's own that a function imports when it is called."""
    if not name.startswith(".") and _is_installed(name):
        return
    separator = "" if name.endswith(".") else "."
    for module in (name, *(f"{name}{separator}{each}" for each in taken or ())):
        try:
            yield importlib.import_module(module, where.get("__package__"))
        except Exception:  # an optional one, or no module but a name in it
            continue


def _state(value: Any) -> list[Any]:
    """Return what an object consists of: what it would be pickled as, or else what it refers to."""
    kind = type(value)
    is_installed = _is_installed(kind.__module__)
    if is_installed and hasattr(value, "__wrapped__") and not isinstance(value, functools.partial):
        return [value.__wrapped__]  # jax.jit, functools.cache: the rest are caches
    parts: list[Any] | None = None
    try:
        pickled = copyreg.dispatch_table.get(kind, lambda x: x.__reduce_ex__(4))(value)
        if isinstance(pickled, str):  # a global of its module
            parts = [pickled]
        else:
            parts = [*pickled[:3], *(list(items or ()) for items in pickled[3:5])]
    except Exception:  # a lock, an open file
        parts = None
    if is_installed and parts is not None and not isinstance(pickled, str):
        return parts
    # One's own class may tell anything when it is pickled, and a name does not tell who made it.
    return [*(parts or ()), getattr(value, "__dict__", None), *gc.get_referents(value)]


@functools.cache
def _is_installed(module: Any) -> bool:
    """Whether a module, by name, belongs to Python, an installed package or this one."""
    if not isinstance(module, str):
        return module is not None  # of a class in C that hides its module
    top = module.partition(".")[0]
    if top in {*sys.stdlib_module_names, "builtins", "gainjax"}:
        return top != "__main__"
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None and top:
        try:
            found = importlib.util.find_spec(top)
        except (ImportError, ValueError, AttributeError):
            return False
        file = None if found is None else found.origin
    return file is not None and not _INSTALLED.isdisjoint(Path(file).parts)


def _hash(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()
