"""The API reference, generated from the exports of the package: a page per public module.

Each object has one entry, under the shortest of its public names. References by another name, such
as the ``gainjax.methods.method.Method`` of signatures, lead to that entry.
"""

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from written import write

import gainjax
import gainjax.optim

# From the outside in: an object is documented where it is found first.
PAGES = {
    "gainjax": ["gainjax"],
    "gainjax.optim": [
        f"gainjax.optim.{m.name}" for m in pkgutil.iter_modules(gainjax.optim.__path__)
    ],
    "gainjax.methods": ["gainjax.methods"],
    "gainjax.models": ["gainjax.models", "gainjax.models.resnet"],
    "gainjax.nnx": ["gainjax.nnx"],
    "gainjax.data": ["gainjax.data"],
    "gainjax.training": ["gainjax.training", "gainjax.training.step"],
    "gainjax.curves": ["gainjax.curves"],
    "gainjax.metrics": ["gainjax.metrics"],
    "gainjax.statistics": ["gainjax.statistics"],
    "gainjax.show": ["gainjax.show"],
    "gainjax.analysis": ["gainjax.analysis"],
    "gainjax.files": ["gainjax.files"],
    "gainjax.callbacks": ["gainjax.callbacks", "gainjax.runs.arrived"],
}

_LONGEST_VALUE = 250  # characters
_REGISTRIES = {
    "METHODS": "Methods by name: :doc:`all of them </registry/methods>`.",
    "BENCHMARKS": "Benchmarks by name: :doc:`all of them </registry/benchmarks>`.",
    "METRICS": "Metrics by name: :doc:`all of them </registry/metrics>`.",
}


def exported(module: ModuleType) -> list[str]:
    """Return the public names of a module: those it lists, or those it defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    ]


def documented() -> dict[str, dict[str, Any]]:
    """Return the objects that each public module documents, by name; each object once."""
    found: dict[str, dict[str, Any]] = {}
    seen: list[Any] = []
    for name in (name for names in PAGES.values() for name in names):
        module = importlib.import_module(name)
        things = {part: getattr(module, part) for part in exported(module)}
        found[name] = {
            part: thing for part, thing in things.items() if not any(thing is old for old in seen)
        }
        seen += found[name].values()
    return found


def _entry(name: str, thing: Any) -> str:
    if inspect.isclass(thing):
        return f".. autoclass:: {name}\n   :members:\n"
    if inspect.isroutine(thing):
        return f".. autofunction:: {name}\n"
    if name in _REGISTRIES:
        return f".. py:data:: {name}\n\n   {_REGISTRIES[name]}\n"
    value = f"   :value: {thing!r}\n" if len(repr(thing)) <= _LONGEST_VALUE else ""
    return f".. py:data:: {name}\n{value}"


def _section(module: str, things: dict[str, Any], rule: str) -> str:
    parts = [f"{module}\n{rule * len(module)}\n", f".. automodule:: {module}\n   :no-members:\n"]
    parts.append(f".. currentmodule:: {module}\n")
    if told := [
        n for n, thing in things.items() if inspect.isclass(thing) or inspect.isroutine(thing)
    ]:
        parts.append(".. autosummary::\n\n" + "".join(f"   {name}\n" for name in told))
    parts += [_entry(name, thing) for name, thing in things.items()]
    return "\n".join(parts)


def _write_pages(app: Sphinx) -> None:
    things = documented()
    folder = Path(app.srcdir) / "api"
    for page, modules in PAGES.items():
        sections = [_section(name, things[name], "-") for name in modules if things[name]]
        if modules == [page]:
            text = _section(page, things[page], "=")
        else:
            text = f"{page}\n{'=' * len(page)}\n\n" + "\n".join(sections)
        write(folder / f"{page}.rst", text)


def _aliases() -> dict[str, str]:
    """Return the documented name of each object by its other names."""
    entries = [
        (thing, f"{module}.{name}")
        for module, things in documented().items()
        for name, thing in things.items()
    ]
    aliases = {name: name for _, name in entries}
    for thing, name in entries:
        if inspect.isclass(thing) or inspect.isfunction(thing):
            aliases[f"{thing.__module__}.{thing.__qualname__}"] = name
    for module in (importlib.import_module(name) for names in PAGES.values() for name in names):
        for part in exported(module):
            found = [name for thing, name in entries if thing is getattr(module, part)]
            aliases.setdefault(f"{module.__name__}.{part}", found[0])
    return aliases


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Find the entry of an object by another of its names."""
    if node.get("refdomain") != "py":
        return None
    aliases = _aliases() if not hasattr(app, "gainjax_aliases") else app.gainjax_aliases
    app.gainjax_aliases = aliases
    target = node["reftarget"]
    for candidate in (target, f"{node.get('py:module')}.{target}", f"gainjax.{target}"):
        home, _, member = candidate.rpartition(".")
        names = [aliases.get(candidate), f"{aliases[home]}.{member}" if home in aliases else None]
        # A name that a module imports from elsewhere.
        thing = _found(candidate)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            names.append(aliases.get(f"{thing.__module__}.{thing.__qualname__}"))
        for name in filter(None, names):
            if name in env.get_domain("py").objects:
                return env.get_domain("py").resolve_xref(
                    env, node["refdoc"], app.builder, "obj", name, node, content
                )
    return None


def _found(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        return None


def setup(app: Sphinx) -> dict:
    """Write the pages before they are read; look references up that Sphinx does not find."""
    app.connect("builder-inited", _write_pages)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
