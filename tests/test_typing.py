"""What type checkers and editors see of the lazy exports is what there is."""

import ast
import importlib
from pathlib import Path

import jax.numpy as jnp
import jaxtyping
import pytest
import shape_checks
from mypy import api

import gainjax
from gainjax.training import goal

PACKAGE = Path(gainjax.__file__).parent
LAZY = {"gainjax": PACKAGE / "__init__.pyi", "gainjax.models": PACKAGE / "models/__init__.pyi"}


def stub(name):
    """Return the module that each name of a stub comes from."""
    found = {}
    for node in ast.parse(LAZY[name].read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.asname == alias.name, "without `as` it is not exported"
                found[alias.name] = node.module
    return found


@pytest.mark.parametrize("name", LAZY)
def test_stub_and_module_export_the_same(name):
    module, found = importlib.import_module(name), stub(name)
    assert set(found) == {*module.__all__, *getattr(module, "_ROOMS", ())}
    for part, home in found.items():
        assert getattr(importlib.import_module(home), part) is getattr(module, part), part
    for part, home in module._HOME.items():
        assert found[part] == f"{name}.{home}", part


def test_every_lazy_module_has_a_stub():
    lazy = [
        path for path in PACKAGE.rglob("__init__.py") if "\ndef __getattr__(" in path.read_text()
    ]
    assert {path.with_suffix(".pyi") for path in lazy} == set(LAZY.values())


@pytest.mark.exhaustive
def test_a_type_checker_knows_signatures_and_misspellings(tmp_path):
    user = tmp_path / "user.py"
    user.write_text(
        "import gainjax\n"
        "reveal_type(gainjax.run)\n"
        "reveal_type(gainjax.models.from_linen)\n"
        "gainjax.run(1.5)\n"
        "gainjax.rnu\n"
        "gainjax.models.from_lenin\n"
    )
    options = ["--follow-imports=silent", "--ignore-missing-imports", "--cache-dir", str(tmp_path)]
    report, errors, _ = api.run([*options, str(user)])
    assert not errors
    lines = {int(line.split(":")[1]): line for line in report.splitlines() if "user.py:" in line}
    assert "gainjax.runs.benchmark.Benchmark" in lines[2]
    assert "def (" in lines[3]
    assert 'incompatible type "float"' in lines[4]
    assert 'has no attribute "rnu"' in lines[5]
    assert "from_lenin" in lines[6]


def test_shapes_in_signatures_are_checked_here():
    with pytest.raises(jaxtyping.TypeCheckError, match="targets"):
        goal.cross_entropy(jnp.zeros((3, 2)), jnp.zeros(4, int))
    with pytest.raises(ValueError, match="must have a class axis"):  # checks of our own come first
        gainjax.predictive_entropy(1.0)


def test_every_module_with_shapes_is_checked():
    with_shapes = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if "from jaxtyping import" in path.read_text()
    }
    assert with_shapes
    assert all(module.startswith(shape_checks.MODULES) for module in with_shapes)
