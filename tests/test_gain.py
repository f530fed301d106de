"""The equation of the gain and the entropy that drives it."""

import re

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

DTYPES = ("float16", "bfloat16", "float32", "float64")


# --- Dynamics -------------------------------------------------------------------------------------


def gain_trace(uncertainties, decay, baseline, sensitivity):
    """Transcription of the equation in float64: g(0), g(1), ..."""
    gains = [np.float64(baseline)]
    for uncertainty in uncertainties:
        gains.append(decay * gains[-1] + (1 - decay) * baseline + sensitivity * uncertainty)
    return np.array(gains)


@pytest.mark.parametrize(
    ("decay", "baseline", "sensitivity"), [(0.9, 1.0, 0.4), (0.0, 0.5, 2.0), (0.99, 3.0, 0.0)]
)
@pytest.mark.usefixtures("x64")
def test_trace_equals_transcription(decay, baseline, sensitivity):
    uncertainties = np.random.default_rng(0).uniform(0, 2.3, 100)
    dynamics = GainDynamics(decay, baseline, sensitivity)

    def body(gain, uncertainty):
        return dynamics.step(gain, uncertainty), gain

    last, gains = jax.lax.scan(body, jnp.asarray(baseline, jnp.float64), uncertainties)
    expected = gain_trace(uncertainties, decay, baseline, sensitivity)
    np.testing.assert_allclose(np.append(gains, last), expected, rtol=1e-14)


def test_first_step_from_uniform_predictions():
    gain = GainDynamics(sensitivity=0.4).step(
        jnp.float32(1), predictive_entropy(jnp.zeros((8, 10)))
    )
    np.testing.assert_allclose(gain, 1 + 0.4 * np.log(10), rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_iteration_converges_to_the_fixed_point():
    dynamics = GainDynamics(decay=0.8, baseline=1.5, sensitivity=0.3)
    uncertainty = jnp.array([0.0, 0.7, 2.3])
    target = dynamics.fixed_point(uncertainty)
    np.testing.assert_allclose(target, 1.5 + 0.3 * np.array([0.0, 0.7, 2.3]) / 0.2, rtol=1e-14)
    np.testing.assert_allclose(dynamics.step(target, uncertainty), target, rtol=1e-14)
    gain = jnp.full(3, 1.5)
    for n in range(1, 150):
        gain = dynamics.step(gain, uncertainty)
        if n == 10:  # the phasic part decays as decay**n
            np.testing.assert_allclose(gain - target, 0.8**10 * (1.5 - target), atol=1e-14)
    np.testing.assert_allclose(gain, target, rtol=1e-13)


def test_neutral_setting_leaves_the_gain_at_one():
    neutral = GainDynamics(decay=0.0, sensitivity=0.0)
    assert neutral.step(jnp.float32(7.0), 2.0) == 1.0


def test_max_gain_bounds_steps_and_fixed_point():
    dynamics = GainDynamics(sensitivity=0.4, max_gain=1.5)
    assert dynamics.step(jnp.float32(1.0), 0.5) == jnp.float32(1.2)
    assert dynamics.step(jnp.float32(1.0), 2.3) == 1.5
    np.testing.assert_array_equal(dynamics.fixed_point(jnp.array([0.0, 2.3])), [1.0, 1.5])


@pytest.mark.parametrize("uncertainty", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("max_gain", [None, 5.0])
def test_non_finite_uncertainty_holds_the_gain(uncertainty, max_gain):
    gain = GainDynamics(max_gain=max_gain).step(jnp.float32(1.75), uncertainty)
    assert gain == 1.75


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("uncertainty_dtype", ["bfloat16", "float64"])
@pytest.mark.usefixtures("x64", "strict")
def test_step_keeps_dtype_and_shape(dtype, uncertainty_dtype):
    dynamics = GainDynamics(jnp.float32(0.9), jnp.float64(1.0), 0.4, max_gain=3.0)
    gain = jax.jit(dynamics.step)(jnp.ones(3, dtype), jnp.asarray(0.5, uncertainty_dtype))
    assert (gain.shape, gain.dtype, gain.weak_type) == ((3,), jnp.dtype(dtype), False)
    np.testing.assert_allclose(gain.astype(float), 1.2, rtol=1e-2)


@pytest.mark.parametrize("gain", [1, np.int32(1), 1.0])
def test_plain_and_integer_gains_become_floats(gain):
    new_gain = GainDynamics().step(gain, 1)
    assert (new_gain.dtype, new_gain.weak_type) == (jnp.ones(()).dtype, False)
    np.testing.assert_allclose(new_gain, 1.4, rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_settings_can_be_vmapped_and_differentiated():
    decay, sensitivity = np.meshgrid([0.0, 0.5, 0.9], [0.0, 0.4])
    grid = GainDynamics(decay.ravel(), 1.0 + 0.1 * np.arange(6), sensitivity.ravel())
    uncertainties = np.random.default_rng(1).uniform(0, 2.3, 20)

    @jax.jit
    @jax.vmap
    def last_gain(dynamics):
        first = jnp.asarray(dynamics.baseline, jnp.float64)
        return jax.lax.scan(lambda g, h: (dynamics.step(g, h), None), first, uncertainties)[0]

    expected = [
        gain_trace(uncertainties, *setting)[-1]
        for setting in zip(grid.decay, grid.baseline, grid.sensitivity, strict=True)
    ]
    np.testing.assert_allclose(last_gain(grid), expected, rtol=1e-14)
    slope = jax.grad(lambda dynamics: dynamics.fixed_point(2.0))(GainDynamics())
    np.testing.assert_allclose([slope.sensitivity, slope.baseline], [20.0, 1.0], rtol=1e-12)
    assert slope.max_gain is None


def test_tree_operations_are_unchecked_and_name_the_fields():
    # JAX puts axis numbers, booleans and placeholders into trees of this class.
    axes = jax.tree.map(lambda _: 0, GainDynamics(max_gain=2.0))
    assert (axes.decay, axes.baseline, axes.max_gain) == (0, 0, 0)
    batch = GainDynamics(*(jnp.full(2, x) for x in (0.5, 1.0, 1.0, 9.0)))
    steps = jax.vmap(lambda dynamics: dynamics.step(2.0, 1.0), in_axes=(axes,))(batch)
    np.testing.assert_array_equal(steps, [2.5, 2.5])
    paths, treedef = jax.tree_util.tree_flatten_with_path(GainDynamics())
    assert [jax.tree_util.keystr(path) for path, _ in paths] == [
        ".decay",
        ".baseline",
        ".sensitivity",
    ]
    assert treedef.unflatten([0.9, 1.0, 0.4]) == GainDynamics()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("decay", [-0.1, 1.0, 1.5, np.float32(2), 7, True]),
        ("baseline", [0.0, -1.0, np.inf, 0]),
        ("sensitivity", [-1e-9, np.inf, -1]),
        ("max_gain", [0.0, -2.0, -np.inf]),
    ],
)
def test_plain_numbers_are_checked(name, values):
    for value in [*values, np.nan, np.float32(np.nan)]:
        with pytest.raises(ValueError, match=rf"^{name} must be .*: got {re.escape(repr(value))}"):
            GainDynamics(**{name: value})
    for value in ("0.5", [0.5], 1j):
        with pytest.raises(TypeError, match=rf"^{name} must be a number"):
            GainDynamics(**{name: value})


@pytest.mark.parametrize("array", [np.array, jnp.array, jnp.bfloat16])
def test_arrays_whose_values_are_known_are_checked(array):
    for name, value in (("decay", -0.1), ("baseline", np.nan), ("max_gain", -0.1)):
        with pytest.raises(ValueError, match=rf"^{name} must be .*: got "):
            GainDynamics(**{name: array(value)})
    with pytest.raises(ValueError, match=r"^sensitivity must be finite"):
        GainDynamics(sensitivity=jnp.array([0.1, -0.1]))
    with pytest.raises(ValueError, match=r"^max_gain must be at least the baseline, 2.*: got 1.5"):
        GainDynamics(baseline=array(2.0), max_gain=array(1.5))
    with pytest.raises(TypeError, match=r"^decay must be a number"):
        GainDynamics(np.array(0.5j))
    assert GainDynamics(array(0.5), array(1.0), array(0.0), array(1.0)).step(1.0, 1.0) == 1


def test_bounds_that_are_allowed():
    GainDynamics(decay=0.0, sensitivity=0.0, baseline=1e-9, max_gain=1e-9)
    GainDynamics(decay=0, baseline=1, sensitivity=0, max_gain=np.inf)
    GainDynamics(decay=np.float32(0.5), max_gain=None)


def test_max_gain_below_the_baseline():
    with pytest.raises(ValueError, match=r"^max_gain must be at least the baseline, 2.0: got 1.5"):
        GainDynamics(baseline=2.0, max_gain=1.5)


def test_traced_numbers_are_not_checked():
    out = jax.jit(lambda d: GainDynamics(d, d, -d, d).step(jnp.float32(1), 0.0))(jnp.float32(7.0))
    assert np.isfinite(out)


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


# --- The safe setting -----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 400),
    st.floats(0, 0.99),
    st.floats(0.5, 4.0),
    st.lists(st.floats(0, 20), min_size=1, max_size=30),
)
def test_layers_together_at_most_double_the_output(layers, decay, baseline, uncertainties):
    dynamics = GainDynamics.for_layers(layers, decay, baseline)
    gain = np.float32(baseline)
    for uncertainty in uncertainties:
        gain = float(dynamics.step(np.float32(gain), uncertainty))
        assert (gain / baseline) ** layers <= 2 * (1 + 1e-4)
        assert gain >= baseline * (1 - 1e-6)


@pytest.mark.usefixtures("x64")
def test_one_nat_doubles_the_output():
    for layers in (1, 3, 20):
        dynamics = GainDynamics.for_layers(layers, 0.8, 1.5)
        np.testing.assert_allclose((dynamics.fixed_point(1.0) / 1.5) ** layers, 2, rtol=1e-12)
        np.testing.assert_allclose(dynamics.max_gain, 1.5 * 2 ** (1 / layers), rtol=1e-15)
    half = dynamics.fixed_point(0.5)
    np.testing.assert_allclose(half - 1.5, (dynamics.max_gain - 1.5) / 2, rtol=1e-12)
    assert GainDynamics.for_layers(0) == GainDynamics.for_layers(1)
    given_bound = GainDynamics.for_layers(3, max_gain=1.5)
    np.testing.assert_allclose(given_bound.fixed_point(1.0), 1.5, rtol=1e-12)


def test_safe_setting_checks_and_traces():
    with pytest.raises(ValueError, match=r"^decay must be"):
        GainDynamics.for_layers(3, 1.5)
    with pytest.raises(TypeError, match=r"^decay must be a number"):
        GainDynamics.for_layers(3, "0.5")
    with pytest.raises(ValueError, match=r"^max_gain must be at least the baseline"):
        GainDynamics.for_layers(3, baseline=2.0, max_gain=1.5)
    traced = jax.jit(lambda decay: GainDynamics.for_layers(3, decay))(0.9)
    np.testing.assert_allclose(
        traced.sensitivity, GainDynamics.for_layers(3).sensitivity, rtol=1e-6
    )


def test_uncertainty_below_zero_or_complex():
    dynamics = GainDynamics(decay=0.5)
    np.testing.assert_array_equal(
        dynamics.step(jnp.full(3, 2.0), jnp.array([-1.0, -1e-9, 0.0])), [1.5, 1.5, 1.5]
    )
    with pytest.raises(TypeError, match="uncertainty must be real"):
        dynamics.step(1.0, 1j)


def test_a_negative_uncertainty_is_refused():
    with pytest.raises(ValueError, match=r"uncertainty must be >= 0: got -0\.1"):
        GainDynamics().step(1.0, -0.1)
