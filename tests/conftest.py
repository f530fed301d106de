"""Fixtures that several test modules share."""

from pathlib import Path

import jax
import pytest


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
