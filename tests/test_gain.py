"""The equation of the gain, and its safe setting."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainjax.gain import GainDynamics, predictive_entropy

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
