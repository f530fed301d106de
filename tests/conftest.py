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
    "training",
    "checkpoints",
    "resnet",
    "runner",
    "promises",
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
