"""The notebooks run from top to bottom, and are stored with what came out."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHORT = {"1-wrap-your-optimizer"}  # the job for documentation runs the others, too
LARGEST = 300_000  # bytes of a notebook, so that a clone and a review stay light
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def shown(cells):
    """Return what kinds of output the cells have, without what differs between machines."""
    return [
        {kind for output in cell.outputs for kind in output.get("data", [output.get("name")])}
        for cell in cells
    ]


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 4


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=() if path.stem in SHORT else pytest.mark.exhaustive)
        for path in NOTEBOOKS
    ],
)
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:zmq.*", "ignore::DeprecationWarning:jupyter*"
)
def test_notebook_runs_and_shows_what_is_stored(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    stored = shown(code_cells(path))
    where = {"metadata": {"path": str(tmp_path)}}  # where the files that it writes go
    NotebookClient(notebook, timeout=600, resources=where).execute()
    assert shown(cell for cell in notebook.cells if cell.cell_type == "code") == stored


@every_notebook
def test_stored_outputs_are_those_of_one_clean_run(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert all(output.output_type != "error" for output in outputs)
    assert all(output.get("name") != "stderr" for output in outputs), "a warning or a progress bar"
    assert any("image/png" in output.get("data", ()) for output in outputs), "no figure"


@every_notebook
def test_stored_notebooks_are_small_and_know_no_machine(path):
    assert path.stat().st_size < LARGEST
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert not any(cell.metadata for cell in notebook.cells), "times of execution, or the like"
    texts = [
        output.get("text", "") + output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    ]
    assert not re.search(r"(?:^|[\s'\"])(?:/\w|[A-Z]:\\)", "\n".join(texts)), "a path"


@every_notebook
def test_first_cell_installs_on_colab_and_nowhere_else(path):
    first = code_cells(path)[0]
    condition, install = first.source.splitlines()[-2:]
    assert condition == 'if "google.colab" in sys.modules:'
    assert re.match(r"    %pip install -q .*git\+https://github\.com/gainjax/gainjax\b", install)
    assert not first.outputs


@every_notebook
def test_readme_has_a_badge(path):
    colab = "https://colab.research.google.com"
    badge = f"![Open in Colab]({colab}/assets/colab-badge.svg)"
    place = f"{colab}/github/gainjax/gainjax/blob/main/notebooks/{path.name}"
    assert f"[{badge}]({place})" in (ROOT / "README.md").read_text()
