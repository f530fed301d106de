"""The skeletons of CONTRIBUTING.md run, and so do their own tests; what it names is there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import gainjax

ROOT = Path(__file__).parents[1]
if not (ROOT / "CONTRIBUTING.md").exists():
    pytest.skip("CONTRIBUTING.md is not here", allow_module_level=True)
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.fixture(scope="module")
def names():
    found = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", TEXT, re.S)):
        exec(compile(block, f"CONTRIBUTING.md, block {number}", "exec"), found)
    yield found
    del gainjax.METRICS["lowest_accuracy"]


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", TEXT, re.M))
def test_of_a_skeleton_passes(name, names):
    names[name]()


@pytest.mark.exhaustive
def test_the_skeletons_work_together(names):
    curves = gainjax.run(names["BENCHMARK"], [names["ENTRY"], "sgd"], seeds=2, updates_per_task=10)
    frame = gainjax.per_seed(curves)
    assert frame["lowest_accuracy"].between(0, 1).all()
    assert set(frame["setting"]) == {"clipped-sgd", "sgd"}


def test_the_hooks_are_the_checks_of_the_script():
    script = (ROOT / ".ci/run").read_text()
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    for check in ("ruff check", "ruff format", "mypy"):
        assert f".venv/bin/{check}" in script
        assert f"entry: {check}" in hooks
    assert "http" not in hooks


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", TEXT):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.stem
)
def test_workflows_pin_what_they_use(path):
    uses = re.findall(r"uses: (\S+)(.*)", path.read_text())
    for action, comment in uses:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v[\d.]+", comment), f"{action} without its version"


def test_a_browser_is_fetched_before_there_is_an_environment(tmp_path):
    """Where no browser is installed, and with nothing of the tests' environment."""
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    for name in ("bash", "cat", "chmod", "dirname", "id", "mkdir", "mktemp", "rm", "timeout"):
        (tools / name).symlink_to(shutil.which(name))
    stub = f"#!/bin/bash\necho ${{0##*/}} $@ >> {log}\n"
    made = f'mkdir -p "$3/bin"; for each in pip playwright; do cat {tmp_path}/stub > "$3/bin/$each"'
    (tmp_path / "stub").write_text(stub)
    (tools / "python3").write_text(f'{stub}{made}; chmod +x "$3/bin/$each"; done\n')
    (tools / "python3").chmod(0o755)
    ran = subprocess.run([ROOT / ".ci/browser"], env={"PATH": str(tools)}, capture_output=True)
    assert (ran.returncode, ran.stdout) == (0, b"")
    places, installed, fetched = log.read_text().splitlines()
    assert places.startswith("python3 -m venv ")
    assert not Path(places.split()[-1]).exists()
    assert installed == "pip install -q -c constraints.txt playwright"
    assert fetched == "playwright install chromium"
