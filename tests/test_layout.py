"""Facts of the layout: what keeps the house readable, checked on the source itself."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gainjax"
if not PACKAGE.is_dir():
    pytest.skip("the package is not beside its tests", allow_module_level=True)
MODULES = sorted(PACKAGE.rglob("*.py"))
BESIDES = ("tests", "perf", "experiments")  # folders of code that is not of the package
LONGEST_MODULE = 350  # lines
LONGEST_FUNCTION = 60  # lines without the docstring
MOST_PARAMETERS = 9


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def imported(path):
    """Return the modules of the package that a module imports, early or late."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in NAMES else node.module)
    return found & NAMES


def functions(path):
    source = path.read_text()
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            docstring = (ast.get_docstring(node, clean=False) or "").splitlines()
            length = node.end_lineno - node.lineno + 1 - len(docstring)
            signature = "\n".join(lines[node.lineno - 1 : body[0].lineno - 1])
            a = node.args
            number = len([*a.posonlyargs, *a.args, *a.kwonlyargs])
            comments = signature.replace("# noqa", "")  # which is no reason
            yield node.name, length, number, "#" in comments


def test_no_module_imports_itself_through_others():
    graph = {name_of(path): imported(path) - {name_of(path)} for path in MODULES}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the cycle


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_are_short(path):
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE
    for name, length, number, has_reason in functions(path):
        assert length <= LONGEST_FUNCTION or has_reason, f"{name} has {length} lines"
        assert number <= MOST_PARAMETERS or has_reason, f"{name} has {number} parameters"


@pytest.mark.parametrize("folder", BESIDES)
def test_modules_besides_the_package_are_short(folder):
    place = PACKAGE.parent / folder
    if not place.is_dir():
        pytest.skip(f"{folder} is not in this archive")
    lengths = {path: len(path.read_text().splitlines()) for path in place.rglob("*.py")}
    assert [path for path, length in lengths.items() if length > LONGEST_MODULE] == []


def test_rooms_know_only_rooms_below_them():
    """The mechanism needs no benchmark, curves need no training, and nothing needs the commands."""
    below = {
        "checks": set(),
        "files": set(),
        "gain": set(),
        "references": {"files"},
        "optim": {"gain"},
        "train_state": {"optim"},
        "data": {"checks", "files"},
        "metrics": set(),
        "statistics": {"checks", "metrics"},
        "methods": {"checks", "gain", "optim", "references"},
        "models": {"gain", "optim"},
        "curves": {"files", "metrics"},
        "show": {"curves", "files", "metrics", "statistics"},
        "training": {"checks", "data", "gain", "methods", "models", "optim"},
    }
    below["runs"] = below.keys() - {"metrics", "show", "statistics", "train_state"}
    below["callbacks"] = {"files", "runs"}
    below["analysis"] = below.keys() - {"callbacks", "train_state"}
    below["pages"] = {"analysis", "files", "show"}
    below["cli"] = below.keys() - {"analysis", "callbacks", "train_state"}
    below["__main__"] = {"cli"}

    def room_of(name):
        room = name.partition(".")[2].partition(".")[0]
        return "models" if room == "nnx" else room  # the layers of those models have an own door

    rooms = {room_of(name) for name in NAMES} - {""}
    assert rooms == below.keys()
    for path in MODULES:
        room = room_of(name_of(path))
        targets = {room_of(target) for target in imported(path)} - {"", room}
        if beyond := targets - below.get(room, rooms):
            raise AssertionError(f"{name_of(path)} imports from {', '.join(beyond)}")
