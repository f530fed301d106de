"""Import the user's own code that ``module:attribute`` and ``./file.py:attribute`` refer to."""

import importlib
import importlib.util
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

from gainjax.files import expanded


def imported(kind: str, reference: str) -> Any:
    """Return the object that a reference names.

    Args:
        kind: The kind of object expected, for the message.
        reference: ``"package.module:attribute"`` or ``"path/file.py:attribute"``. The working
            directory is also searched for modules.

    Raises:
        ValueError: If there is no such module, file or attribute.

    Example:
        >>> imported("method", "optax:lion").__name__
        'lion'
    """
    where, _, attribute = reference.rpartition(":")
    try:
        if where.endswith(".py"):
            module = _module_from(expanded(where))
        else:
            here = str(Path.cwd())  # as `python -m` does
            if here not in sys.path:
                sys.path.insert(0, here)
            module = importlib.import_module(where)
    except Exception as error:  # anything can be raised in the user's module
        raise ValueError(f"{kind} {reference!r}: cannot import {where!r}: {error}") from error
    found = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            known = [
                name
                for name, value in vars(module).items()
                if not name.startswith("_") and not isinstance(value, ModuleType)
            ]
            raise ValueError(
                f"{kind} {reference!r}: {where} has no {attribute!r}; it has "
                f"{', '.join(known) or 'nothing'}"
            )
        found = getattr(found, name)
    return found


def absolute(reference: str) -> str:
    """Return a reference with any file path made absolute.

    Args:
        reference: The reference.
    """
    where, _, attribute = reference.rpartition(":")
    return f"{expanded(where).resolve()}:{attribute}" if where.endswith(".py") else reference


def _module_from(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    status = path.stat()
    stamp = status.st_mtime_ns, status.st_size  # an edited file is imported again
    # The same name in every process: it may be part of what identifies a run.
    name = f"_gainjax_{path.stem}_{zlib.crc32(str(path.resolve()).encode()):08x}"
    before = sys.modules.get(name)
    if before is not None and before.__spec__ and before.__spec__.loader_state == stamp:
        return before
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    spec.loader_state = stamp
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    here = str(path.resolve().parent)  # as `python mine.py` does
    if here not in sys.path:
        sys.path.append(here)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception):
            raise ImportError(f"{type(error).__name__}: {error}") from error
        raise
    return module
