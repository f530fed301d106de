"""Every program of experiments/, on handwritten digits and for a moment only."""

import pytest

pd = pytest.importorskip("pandas")
main = pytest.importorskip("experiments.__main__", reason="needs a checkout").main


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments")
    return folder / "runs", folder / "results"
