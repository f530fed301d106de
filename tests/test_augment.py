"""Augmentation: ours against NumPy's own padding and slicing, and what a user's must return."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gainjax
from gainjax.data.augment import crop_and_flip


def test_every_image_is_a_window_of_its_padded_self_or_its_mirror():
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (64, 6, 5, 3), dtype=np.uint8)
    result = np.asarray(jax.jit(crop_and_flip)(jax.random.key(0), jnp.asarray(images)))
    assert result.dtype == np.uint8
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    seen = set()
    for before, after in zip(padded, result, strict=True):
        found = [
            (i, j, mirrored)
            for i in range(9)
            for j in range(9)
            for mirrored in (False, True)
            if np.array_equal(before[i : i + 6, j : j + 5][:, :: -1 if mirrored else 1], after)
        ]
        assert len(found) == 1
        seen.update(found)
    assert len({s[:2] for s in seen}) > 20
    assert {s[2] for s in seen} == {False, True}


def test_without_padding_only_mirrors():
    images = jnp.arange(2 * 4 * 4).reshape(2, 4, 4, 1)
    result = crop_and_flip(jax.random.key(1), images, padding=0)
    for before, after in zip(images, result, strict=True):
        assert (before == after).all() or (before[:, ::-1] == after).all()


@pytest.mark.exhaustive
def test_augmentation_must_return_an_input_for_each():
    stream = gainjax.get_benchmark("split-digits").load()
    for augment, shape in ((lambda k, x: x[:1], "(1, 8, 8, 1)"), (lambda k, x: x[..., 0], "8, 8)")):
        with pytest.raises(ValueError, match="augment of benchmark 'mine' must return") as told:
            gainjax.Benchmark(
                "mine", stream=stream, augment=augment, updates_per_task=2, batch_size=8
            )
        assert shape in str(told.value)
