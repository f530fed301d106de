"""What becomes of the inputs of a stream: their types and their normalization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stream_data import table

from gainjax.data import class_incremental, load_source, normalize, split
from gainjax.data.assemble import normalization


@pytest.fixture(scope="module")
def digits():
    return load_source("digits")


KINDS = {
    "uint8": (np.uint8, np.uint8, np.float32),
    "bool": (bool, np.uint8, np.float32),
    "int8": (np.int8, np.int8, np.int8),
    "uint16": (np.uint16, np.uint16, np.uint16),
    "int64": (np.int64, np.int32, np.int32),
    "uint32": (np.uint32, np.int32, np.int32),
    "big-endian": (">i4", np.int32, np.int32),
    "float16": (np.float16, np.float32, np.float32),
    "float64": (np.float64, np.float32, np.float32),
    "bfloat16": (jnp.bfloat16, np.float32, np.float32),
}


@pytest.mark.parametrize("kind", KINDS)
def test_types_of_inputs(kind):
    given, raw, seen = KINDS[kind]
    x = np.arange(24).reshape(12, 2).astype(given)
    stream = class_incremental(x, np.arange(12) % 2, x, np.arange(12) % 2, tasks=[[0], [1]])
    assert stream.train_inputs.dtype == raw
    assert stream.test_inputs.dtype == seen
    batch = normalize(stream, stream.train_inputs)
    assert batch.dtype == seen
    np.testing.assert_array_equal(batch[:6], stream.test_inputs[0])  # bit for bit
    if kind != "uint8":
        np.testing.assert_array_equal(np.float64(batch[:6]), np.float64(x[::2]))


@settings(max_examples=80, deadline=None)
@given(
    x=hnp.arrays(
        np.uint8,
        st.sampled_from([(6,), (6, 5), (6, 3, 3), (6, 2, 2, 1), (6, 2, 2, 3), (6, 2, 2, 7)]),
    )
)
def test_pixels_are_standardized_by_training_inputs(x):
    y = np.zeros(6, int)
    stream = class_incremental(x, y, x, y, tasks=[[0]])
    per_channel = x.ndim > 3 and x.shape[-1] <= 4
    axes = tuple(range(x.ndim - 1)) if per_channel else None
    mean, std = x.mean(axes, dtype=np.float64), x.std(axes, dtype=np.float64)
    expected = (x - mean) / np.where(x.max(axes) == x.min(axes), 1, std)
    np.testing.assert_allclose(stream.test_inputs[0], expected, rtol=1e-5, atol=2e-4)
    batch = jax.jit(normalize)(stream, x)
    np.testing.assert_array_equal(batch, stream.test_inputs[0])


def test_normalization_under_strict_promotion(digits, strict):
    stream = split(digits)
    np.testing.assert_array_equal(
        normalize(stream, digits.x_test[:3]).dtype, stream.test_inputs.dtype
    )


def test_own_statistics_in_units_of_the_raw_inputs():
    x, y = table()
    stream = class_incremental(x, y, x, y, tasks=[[0, 1, 2]], mean=x.mean(0), std=x.std(0))
    np.testing.assert_allclose(stream.test_inputs[0].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(normalize(stream, stream.train_inputs).std(0), 1, rtol=1e-5)
    tokens = np.arange(8).reshape(4, 2)
    stream = class_incremental(tokens, [0] * 4, tokens, [0] * 4, tasks=[[0]], mean=1, std=2)
    np.testing.assert_array_equal(stream.test_inputs[0], (tokens - 1) / 2)
    np.testing.assert_array_equal(normalize(stream, tokens), stream.test_inputs[0])
    pixels = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"in the units of the raw inputs, 0 to 255.*by 255"):
        normalization([pixels], (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
