"""What is set in JAX elsewhere changes no number, or is told."""

import contextlib

import flax.linen as nn
import jax
import numpy as np
import pytest
from interruptions import crash, numbers

import gainjax

pytestmark = pytest.mark.exhaustive

METHODS = ["ngm-sgd", "sam"]  # a gain, and functions of parameters
SHORT = {"seeds": 2, "updates_per_task": 3, "batch_size": 16, "eval_examples": 20}
SHORT |= {"eval_every": 2, "seen_every": 3, "dense_updates": 0}  # most rows are not evaluated


class Dropping(nn.Module):
    """A network with random numbers in its forward pass."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Dense(8)(x.reshape(len(x), -1)))
        return nn.Dense(10)(nn.Dropout(0.5, deterministic=not train)(x))


def go(**options):
    model = gainjax.models.from_linen(Dropping())
    return gainjax.run("split-digits", METHODS, model=model, **SHORT | options)


@pytest.fixture(scope="module")
def usual():
    return {layout: go(layout=layout) for layout in ("map", "vmap")}


ENVIRONMENTS = {
    "another generator": lambda: jax.default_prng_impl("rbg"),
    "not partitionable": lambda: jax.threefry_partitionable(False),
    "NaNs are errors": lambda: jax.debug_nans(True),
    "no promotion of ranks": lambda: jax.numpy_rank_promotion("raise"),
    "no promotion of dtypes": lambda: jax.numpy_dtype_promotion("strict"),
    "infinities are errors": lambda: jax.debug_infs(True),
}


@pytest.mark.parametrize(
    ("setting", "layout"),
    [*((name, "map") for name in ENVIRONMENTS), ("another generator", "vmap")],
)
def test_settings_of_jax_change_no_number(setting, layout, usual):
    with ENVIRONMENTS[setting]():
        found = go(layout=layout)
    wanted = usual[layout]
    assert numbers(found).identical(numbers(wanted))


@pytest.mark.parametrize("layout", ["map", "vmap"])
def test_a_seed_alone_is_the_seed_among_others_whatever_the_generator(layout):
    with jax.default_prng_impl("rbg"):
        both, alone = go(layout=layout), go(layout=layout, seeds=[1])
    # Batched products of another size round differently; random numbers must be the same.
    rtol = 0 if layout == "map" else 1e-5
    np.testing.assert_allclose(both.train_loss.sel(seed=[1]), alone.train_loss, rtol=rtol)


@pytest.fixture
def killed(tmp_path):
    """Directory of a run with the batched layout that was killed in the middle of a method."""
    crash(9, "split-digits", ["sgd"], out=tmp_path, layout="vmap", chunk=3, **SHORT)
    return tmp_path


def test_a_batched_run_is_resumed_as_one(killed):
    wanted = gainjax.run("split-digits", ["sgd"], layout="vmap", **SHORT)
    with jax.default_prng_impl("rbg"), jax.threefry_partitionable(False):
        found = gainjax.resume(killed)
    assert numbers(found).identical(numbers(wanted))


@pytest.mark.parametrize(
    ("context", "name"),
    [
        (lambda: jax.enable_x64(True), "float was 'float32' and is 'float64'"),
        (lambda: jax.default_matmul_precision("bfloat16"), "matmul_precision was"),
        (contextlib.nullcontext, "layout was 'vmap' and is 'map'"),
    ],
)
def test_what_would_change_numbers_is_refused(killed, context, name):
    layout = "map" if name.startswith("layout") else "vmap"
    with context(), pytest.raises(ValueError, match=name):
        gainjax.resume(killed, layout=layout)
