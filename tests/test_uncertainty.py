"""The entropy that drives the gain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.special import softmax
from scipy.stats import entropy

from gainjax.gain import GainDynamics, predictive_entropy, sigmoid_entropy

# --- Predictive entropy ---------------------------------------------------------------------------


entropy_of = jax.jit(predictive_entropy, static_argnames="normalize")
value_and_grad = jax.jit(jax.value_and_grad(predictive_entropy))


@pytest.mark.parametrize("shape", [(10,), (3, 10), (2, 3, 4, 10), (5, 2)])
@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0])
@pytest.mark.usefixtures("x64", "strict")
def test_entropy_equals_scipy(shape, scale):
    logits = scale * np.random.default_rng(2).normal(size=shape)
    expected = entropy(softmax(logits, axis=-1), axis=-1).mean()
    result = entropy_of(logits)
    assert result.shape == ()
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-13)
    normalized = entropy_of(logits, normalize=True)
    np.testing.assert_allclose(normalized, expected / np.log(shape[-1]), rtol=1e-12, atol=1e-13)


@pytest.mark.usefixtures("x64")
def test_entropy_gradient_equals_closed_form():
    logits = np.random.default_rng(3).normal(size=(6, 5))
    p = softmax(logits, axis=-1)
    log_p = np.log(p)
    expected = -p * (log_p - (p * log_p).sum(-1, keepdims=True)) / 6
    np.testing.assert_allclose(value_and_grad(logits)[1], expected, rtol=1e-11)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.usefixtures("x64")
def test_large_logits_are_exact(dtype):
    one_hot = jnp.array([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4]], dtype)
    tie = jnp.array([[1e4, 1e4, -1e4], [-1e4, 1e4, 1e4]], dtype)
    for logits, expected in ((one_hot, 0.0), (tie, np.log(2))):
        value, grad = value_and_grad(logits)
        assert value.dtype == (jnp.float64 if dtype == "float64" else jnp.float32)
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=0)
        assert grad.dtype == logits.dtype
        np.testing.assert_array_equal(grad.astype(float), 0.0)


def test_logits_at_the_end_of_the_number_range():
    largest = np.finfo(np.float32).max
    value, grad = value_and_grad(jnp.array([[largest, -largest, 0.0]]))
    assert value == 0
    assert np.isfinite(grad).all()


@pytest.mark.usefixtures("x64")
def test_masked_classes_count_for_nothing():
    logits = np.random.default_rng(4).normal(size=(4, 5))
    masked = np.concatenate([logits, np.full((4, 2), -np.inf)], axis=-1)
    value, grad = value_and_grad(masked)
    expected, expected_grad = value_and_grad(logits)
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    np.testing.assert_allclose(grad[:, :5], expected_grad, rtol=1e-12)
    np.testing.assert_array_equal(grad[:, 5:], 0.0)
    alone = jnp.array([[0.3, -jnp.inf]])
    value, grad = value_and_grad(alone)
    assert value == 0
    np.testing.assert_array_equal(grad, 0.0)


def test_sigmoids_of_infinite_logits_are_unknown_and_of_excluded_labels_certain():
    assert np.isnan(sigmoid_entropy(jnp.array([np.inf, 0.0])))
    assert np.isnan(sigmoid_entropy(jnp.array([np.nan])))
    assert float(sigmoid_entropy(jnp.array([-np.inf]))) == 0


@pytest.mark.parametrize("logits", [[[np.nan, 0.0]], [[np.inf, 0.0]], [[-np.inf, -np.inf]]])
def test_undefined_predictions_are_seen(logits):
    assert not np.isfinite(entropy_of(jnp.array(logits)))


@settings(max_examples=60, deadline=None)
@given(
    npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.sampled_from([2, 7])),  # few shapes: few compilations
        elements=st.floats(-1e4, 1e4, width=32),
    ),
    st.floats(-1e3, 1e3, width=32),
)
def test_entropy_is_bounded_and_ignores_shifts(logits, shift):
    value = float(entropy_of(logits))
    assert 0 <= value <= np.log(logits.shape[-1]) * (1 + 1e-6)
    assert 0 <= float(entropy_of(logits, normalize=True)) <= 1 + 1e-6
    # A shift rounds the logits; what it must not do is add anything to that.
    shifted = (logits + np.float32(shift)).astype(np.float32)
    rounding = np.abs(shifted - np.float32(shift) - logits).max()
    assert abs(float(entropy_of(shifted)) - value) <= 2 * rounding * len(logits[0]) + 1e-5


def test_uniform_predictions():
    for classes in (2, 10, 100):
        logits = jnp.full((4, classes), 7.0)
        np.testing.assert_allclose(entropy_of(logits), np.log(classes), rtol=1e-6)
        np.testing.assert_allclose(entropy_of(logits, normalize=True), 1.0, rtol=1e-6)


def test_logits_without_classes():
    with pytest.raises(ValueError, match=r"^logits must have a class axis"):
        predictive_entropy(jnp.float32(1.0))
    for shape in ((3, 1), (1,), (2, 0)):
        with pytest.raises(ValueError, match=r"at least 2 classes.*sigmoid_entropy"):
            predictive_entropy(jnp.ones(shape))


# --- Rows that count, and outputs of a sigmoid ----------------------------------------------------


@pytest.mark.parametrize("junk", [0.0, 1e30, np.inf, np.nan])
@pytest.mark.usefixtures("x64")
def test_padded_rows_count_for_nothing(junk):
    logits = np.random.default_rng(5).normal(size=(4, 3, 5))
    where = np.array([[True, True, False]] * 3 + [[True, False, False]])
    padded = np.where(where[..., None], logits, junk)
    value, grad = jax.value_and_grad(lambda z: predictive_entropy(z, where=where))(padded)
    expected, expected_grad = value_and_grad(logits[where])
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    np.testing.assert_allclose(grad[where], expected_grad, rtol=1e-12)
    np.testing.assert_array_equal(grad[~where], 0.0)
    normalized = predictive_entropy(padded, where=where, normalize=True)
    np.testing.assert_allclose(normalized, expected / np.log(5), rtol=1e-13)
    rows = predictive_entropy(logits, where=np.array([True, False, True]))  # broadcasts
    np.testing.assert_allclose(rows, predictive_entropy(logits[:, [0, 2]]), rtol=1e-13)


def test_where_nothing_counts_the_gain_is_held():
    nothing = predictive_entropy(jnp.zeros((3, 4)), where=jnp.zeros(3, bool))
    assert np.isnan(nothing)
    assert GainDynamics().step(jnp.float32(1.75), nothing) == 1.75


def test_where_that_does_not_fit():
    for function, logits in (
        (predictive_entropy, jnp.zeros((3, 4))),
        (sigmoid_entropy, jnp.zeros(3)),
    ):
        with pytest.raises(ValueError, match=r"^where must broadcast to.*\(3,\): got \(4,\)"):
            function(logits, where=jnp.ones(4, bool))
        with pytest.raises(ValueError, match=r"^where must hold booleans.*got float32"):
            function(logits, where=jnp.ones(3, jnp.float32))


@pytest.mark.exhaustive
@settings(max_examples=40, deadline=None)
@given(
    npst.arrays(
        np.float32, st.sampled_from([(), (4,), (3, 2)]), elements=st.floats(-1e4, 1e4, width=32)
    )
)
def test_sigmoid_entropy_equals_that_of_two_classes(logits):
    value, grad = jax.value_and_grad(sigmoid_entropy)(logits)
    p = 1 / (1 + np.exp(-logits.astype(np.float64).clip(-700, 700)))
    expected = entropy(np.stack([p, 1 - p]), axis=0).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)
    assert 0 <= value <= np.log(2) * (1 + 1e-6)
    assert np.isfinite(grad).all()


def test_sigmoid_entropy_where():
    logits = jnp.array([[0.3, jnp.nan], [-1.2, 2.0]])
    where = jnp.array([[True, False], [True, True]])
    value = sigmoid_entropy(logits, where=where)
    np.testing.assert_allclose(value, sigmoid_entropy(jnp.array([0.3, -1.2, 2.0])), rtol=1e-6)
