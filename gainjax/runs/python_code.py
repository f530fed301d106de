"""What identifies Python code that a compiled program calls back: its text does not contain it."""

import functools
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params

_INSTALLED = {"site-packages", "dist-packages"}
_SIMPLE = (bool, int, float, complex, str, bytes, type(None), type(...))


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

    It covers bytecode, constants, defaults and closures, the globals that the function names, and
    functions and classes among these, recursively. Code of installed packages counts by its name,
    and an object that does not tell its state by its class.

    Args:
        function: A function, a partial or bound one, or any callable object.

    Example:
        >>> code_mark(lambda x: x + 1) == code_mark(lambda x: x + 1)
        True
        >>> code_mark(lambda x: x + 1) == code_mark(lambda x: x + 2)
        False
    """
    return _mark(function, {})


def _mark(value: Any, seen: dict[int, tuple[int, Any]]) -> bytes:
    """Return a hash of a value; `seen` holds what was met before, by id, and keeps it alive."""
    if isinstance(value, _SIMPLE):
        return _hash(type(value).__name__, repr(value).encode())
    if isinstance(value, np.generic | np.ndarray | jax.Array) and _is_plain(value):
        array = np.asarray(value)
        return _hash(f"array {array.dtype} {array.shape}", array.tobytes())
    if not isinstance(value, tuple | frozenset):  # the compiler may or may not share equal ones
        if id(value) in seen:  # a recursive function, for example
            return _hash("again", str(seen[id(value)][0]).encode())
        seen[id(value)] = len(seen), value
    kind, parts = _parts(value)
    marks = [_mark(part, seen) for part in parts]
    # The order in a set depends on the process.
    return _hash(kind, *(sorted(marks) if isinstance(value, set | frozenset) else marks))


def _parts(value: Any) -> tuple[str, list[Any]]:
    """Return the kind of a value and the values that it consists of."""
    if isinstance(value, tuple | list | set | frozenset):
        return type(value).__name__, list(value)
    if isinstance(value, dict):
        return "dict", [*value, *value.values()]
    if isinstance(value, np.ndarray):  # of objects
        return f"array {value.shape}", value.ravel().tolist()
    if isinstance(value, CodeType):
        names = [value.co_names, value.co_freevars, value.co_argcount]
        return "code", [value.co_code, value.co_exceptiontable, *value.co_consts, *names]
    if isinstance(value, FunctionType):
        return _function_parts(value)
    if isinstance(value, functools.partial):
        return "partial", [value.func, value.args, value.keywords]
    if isinstance(value, MethodType):
        return "method", [value.__func__, value.__self__]
    if isinstance(value, staticmethod | classmethod):
        return type(value).__name__, [value.__func__]
    if isinstance(value, property):
        return "property", [value.fget]
    if isinstance(value, type):
        name = f"{value.__module__}.{value.__qualname__}"
        if _is_installed(value.__module__):
            return f"class {name}", []
        return f"class {name}", [*filter(_is_code, vars(value).items()), *value.__bases__]
    if isinstance(value, ModuleType):
        return f"module {value.__name__}", []
    if hasattr(value, "__wrapped__"):  # jax.jit, functools.cache
        return "wrapped", [value.__wrapped__]
    return "object", [type(value), *_state(value)]


def _function_parts(function: FunctionType) -> tuple[str, list[Any]]:
    where = function.__globals__
    if _is_installed(where.get("__name__", "")):
        return f"function {where['__name__']}.{function.__qualname__}", []
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            cells.append(None)
    named = list(_globals_of(_names(function.__code__), where))
    return "function", [
        function.__code__, function.__defaults__, function.__kwdefaults__, cells, named,
    ]  # fmt: skip


def _globals_of(names: list[str], where: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the globals of these names, and what they name in modules of one's own."""
    for name in names:
        if name not in where:
            continue
        value = where[name]
        yield value
        if isinstance(value, ModuleType) and not _is_installed(value.__name__):
            yield from (vars(value)[inner] for inner in names if inner in vars(value))


def _names(code: CodeType) -> list[str]:
    """Return the names that code and the functions inside it use."""
    inner = [_names(value) for value in code.co_consts if isinstance(value, CodeType)]
    return list(dict.fromkeys([*code.co_names, *(name for names in inner for name in names)]))


def _is_code(item: tuple[str, Any]) -> bool:
    """Whether an entry of a class belongs to its code: not what Python itself adds."""
    name, value = item
    is_function = isinstance(value, FunctionType | staticmethod | classmethod | property)
    return is_function or not name.startswith("__")


def _state(value: Any) -> list[Any]:
    """Return what an object would be pickled as, without its class; nothing if it cannot be."""
    try:
        found = value.__reduce_ex__(4)
    except Exception:  # a lock, an open file
        return []
    if isinstance(found, str):  # a global of its module
        return [found]
    _, arguments, state, items, pairs = (*found, *[None] * 5)[:5]
    kept = [argument for argument in arguments if argument is not type(value)]
    return [kept, state, list(items or ()), list(pairs or ())]


def _is_installed(module: str | None) -> bool:
    """Whether a module belongs to Python or an installed package."""
    if not module or module.partition(".")[0] in {*sys.stdlib_module_names, "builtins"}:
        return bool(module) and module != "__main__"
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and not _INSTALLED.isdisjoint(Path(file).parts)


def _is_plain(value: Any) -> bool:
    return value.dtype != object and not jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended)


def _hash(kind: str, *parts: bytes) -> bytes:
    digest = hashlib.sha256(kind.encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()
