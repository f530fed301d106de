"""The pages of docs/: what the build does not run, and what it is built from."""

import ast
import importlib
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import gainjax

DOCS = Path(__file__).parents[1] / "docs"
if not DOCS.is_dir():
    pytest.skip("docs/ is not here", allow_module_level=True)
PAGES = {path.stem: path.read_text() for path in sorted(DOCS.glob("*.md"))}


def blocks(language, text):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


@pytest.mark.exhaustive  # the job for documentation runs them, too
@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if blocks("python", text)])
def test_blocks_that_are_no_cells_run_too(page, tmp_path, monkeypatch):
    """Pages that are read on GitHub as well have plain blocks, which the build only shows."""
    import optax

    monkeypatch.chdir(tmp_path)
    names = {"gainjax": gainjax, "optax": optax}
    for block in blocks("python", PAGES[page]):
        if "\n...\n" not in block:  # an excerpt of somebody's loop
            exec(compile(block, f"{page}.md", "exec"), names)
    plt.close("all")


COMMANDS = [
    line
    for text in PAGES.values()
    for block in blocks("sh", text)
    for line in block.replace("\\\n", " ").splitlines()
    if re.match("gainjax (run|sweep) ", line)
]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line, monkeypatch):
    import shlex

    from gainjax.cli import app, main

    told = {}
    monkeypatch.setattr(app, "run", lambda bench, **options: told.update(options))
    monkeypatch.setattr(app, "sweep", lambda bench, grid, **options: told.update(options))
    monkeypatch.setattr(app.shown, "show_results", lambda *_: None)
    # What a shell computes in a job of an array, here the second one.
    line = re.sub(r"\$\(\((.*?)\)\)", lambda found: str(eval(found[1], {"i": 1})), line)
    main(shlex.split(line.replace("$i", "1"), comments=True)[1:])
    assert told["methods"]
    if "digits-$i" in line:
        assert told["seeds"] == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """As on GitHub; the build checks what is left: anchors, roles and pages that it writes."""
    for target in re.findall(r"\]\((?!http)([^)#\s]+)", PAGES[page]):
        written = target.startswith(("registry/", "api/")) or "{" in target
        assert written or (DOCS / target).exists(), target


@pytest.mark.parametrize("registry", ["METHODS", "BENCHMARKS", "METRICS"])
def test_every_entry_has_a_page(registry, monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.setattr(sys, "path", [str(DOCS / "extensions"), str(DOCS.parent), *sys.path])
    import registry_pages

    entries, page, row, head, _ = registry_pages._KINDS[registry.lower()]
    assert entries is getattr(gainjax, registry)
    for name, entry in entries.items():
        assert page(entry).startswith(f"# {name}\n")
        assert len(row(entry)) == len(head)


def test_every_public_object_is_documented_once(monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.setattr(sys, "path", [str(DOCS / "extensions"), *sys.path])
    import api_pages

    found = api_pages.documented()
    assert set(found["gainjax"]) == set(gainjax.__all__)
    things = [thing for objects in found.values() for thing in objects.values()]
    assert len({id(thing) for thing in things}) == len(things)


def test_programs_stand_on_what_is_documented(monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.setattr(sys, "path", [str(DOCS / "extensions"), *sys.path])
    import api_pages

    public = {
        module: set(api_pages.exported(importlib.import_module(module)))
        for modules in api_pages.PAGES.values()
        for module in modules
    }
    for path in (DOCS.parent / "experiments").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gainjax"):
                names = {alias.name for alias in node.names}
                assert names <= public.get(node.module, set()), f"{path.name}: {node.module}"
