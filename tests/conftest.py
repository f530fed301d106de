"""Fixtures that several test modules share."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import jax
import pytest
import shape_checks

shape_checks.install()

MOST_MAPPINGS = 20_000  # of usually 65,530
_tests = 0
LONGEST = (
    "published",
    "notebooks",
    "readme",
    "own_methods",
    "specification",
    "report_browser",
    "training",
    "own_data",
    "own_models",
    "resume",
    "docs",
    "interruptions",
    "guard",
    "resnet",
    "resnet_gain",
    "commands",
    "processes",
    "methods",
    "contract",
)


def pytest_configure(config):
    """Let each worker, and what it starts, compile equal programs of different tests once.

    Workers share nothing: JAX reads what another process may still be writing.
    """
    folder = tempfile.mkdtemp(prefix="gainjax-tests-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    options = {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0.2,  # writing all is slow and fragile
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in options.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    # Started in the background, as by nohup, this process and its children would ignore SIGINT.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_teardown(item, nextitem):
    """Forget compiled programs before they take all mappings of memory that a process may have.

    Beyond that, LLVM fails to compile or the process dies by a segmentation fault.
    """
    del item
    global _tests
    _tests += 1
    if nextitem is None or _tests % 10:
        return
    try:
        with open("/proc/self/maps", "rb") as maps:
            number = sum(1 for _ in maps)
    except OSError:  # not Linux
        return
    if number > MOST_MAPPINGS:
        jax.clear_caches()


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items):
    """Long files first, so that the workers end together; what is exhaustive is slow."""
    for item in items:
        if item.get_closest_marker("exhaustive"):
            item.add_marker("slow")
    rank = {f"test_{name}": i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session")
def shared():
    """Folder beside the project with published curves and prepared data; not in every checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the folder ../shared is not there")
    return folder


@pytest.fixture
def x64():
    """Arrays are float64 by default inside the test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def strict():
    """No implicit promotion of dtypes or ranks inside the test."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session")
def digits_run():
    """Curves and final states of `recorded_run`."""
    from recorded_run import recorded_run

    return recorded_run()


@pytest.fixture(scope="session")
def ngm_curves(digits_run):
    """Those of its setting NGM-SGD alone."""
    return digits_run[0].sel(setting=["ngm-sgd"])


@pytest.fixture
def no_data_elsewhere(monkeypatch, tmp_path):
    """Neither the environment nor the home folder of the tester takes part."""
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def uninterrupted():
    """Curves of the run of `stored_runs`, which nothing disturbed."""
    from stored_runs import go

    return go()


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """A run whose second method crashed in its fourth task; copy it before use."""
    from interruptions import checkpoint_every_chunk
    from stored_runs import crash

    out = tmp_path_factory.mktemp("crashed")
    with pytest.MonkeyPatch.context() as monkeypatch:
        checkpoint_every_chunk(monkeypatch)
        crash(out, "adam", 30)
    return out


@pytest.fixture
def broken(crashed, tmp_path):
    """Output directory with the first method finished and the second stored up to update 27."""
    return shutil.copytree(crashed, tmp_path / "out")


@pytest.fixture
def restored(monkeypatch):
    """From where each method went on."""
    from gainjax.runs.part_store import PartStore

    positions = {}
    restore = PartStore.restore

    def note(self, abstract):
        found = restore(self, abstract)
        positions[self.name] = found[0] if found else 0
        return found

    monkeypatch.setattr(PartStore, "restore", note)
    return positions
