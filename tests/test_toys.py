"""Toy models of the two timescales: published values, limits, noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gainjax import GainDynamics
from gainjax.analysis import (
    Noise,
    fast_slow_toy,
    gain_toy,
    noisy_onset_toys,
    onset_targets,
    onset_toy,
    plot_toys,
    reversal_targets,
    slow_toy,
)

# update: slow weight, fast and slow weight, output, gain and weight of the gain model
PUBLISHED = {
    145: (0.8000, 0.3959, 1.6960, 2.1200, 0.8000),
    147: (0.4580, -0.2259, -0.3724, 2.4602, -0.1514),
    153: (-0.2252, -0.6488, -0.9143, 1.9994, -0.4573),
    156: (-0.0551, 0.2878, 0.2658, 1.9915, 0.1335),
    170: (0.7586, 0.9319, 0.9293, 1.5433, 0.6021),
}


@pytest.mark.parametrize("update", PUBLISHED)
def test_toys_give_the_published_values(update, x64):
    targets = reversal_targets()
    gain = gain_toy(targets)
    others = (slow_toy(targets).output, fast_slow_toy(targets).output)
    traces = (*others, gain.output, gain.gain, gain.weight)
    found = [float(trace[update]) for trace in traces]
    # Printed digits are 4; the slow weight reaches 1 only in the limit, which shows in the fifth.
    np.testing.assert_allclose(found, PUBLISHED[update], atol=5.1e-5)


def test_gain_toy_is_its_equations(x64):
    targets = np.random.default_rng(0).normal(size=50)
    g, w, rows = 1.5, 0.3, []
    for target in targets:
        e = target - g * w
        rows.append((g * w, g, w, (g - 1.5) * w))
        w = w + 0.05 * g * e
        g = 0.8 * g + 0.2 * 1.5 + 0.6 * abs(w * e)
    trace = gain_toy(targets, GainDynamics(0.8, 1.5, 0.6), 0.05, 0.3)
    np.testing.assert_allclose(np.stack(trace, axis=1), rows, rtol=1e-12, atol=1e-14)


def test_parts_of_the_fast_and_slow_toy_add_up(x64):
    trace = fast_slow_toy(reversal_targets())
    np.testing.assert_allclose(trace.fast + trace.weight, trace.output, rtol=1e-14)
    gain = gain_toy(reversal_targets())
    np.testing.assert_allclose(gain.fast + gain.weight, gain.output, rtol=1e-14)


def test_gain_without_sensitivity_is_the_slow_weight(x64):
    targets = reversal_targets()
    gain = gain_toy(targets, GainDynamics(0.9, 1.0, 0.0), 0.1, 0.0)
    np.testing.assert_array_equal(gain.output, slow_toy(targets).output)
    slow = fast_slow_toy(targets, fast_rate=0.0)
    np.testing.assert_array_equal(slow.output, slow_toy(targets).output)


def test_onset_peaks_where_the_appendix_says(x64):
    gain = onset_toy().gain
    assert int(gain.argmax()) == 49
    assert round(float(gain.max()), 4) == 1.4085
    np.testing.assert_array_equal(gain[:45], 1)  # no error, no drive
    assert onset_targets().sum() == 56


def test_noise_of_size_zero_is_no_noise_and_keys_are_explicit():
    key = jax.random.key(3)
    quiet = onset_toy(key, Noise(0.0, 0.0))
    for found, exact in zip(quiet, onset_toy(), strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-7)
    first, again = noisy_onset_toys(key, 4), noisy_onset_toys(key, 4)
    np.testing.assert_array_equal(first.gain, again.gain)
    alone = onset_toy(jax.random.split(key, 4)[2])
    np.testing.assert_allclose(first.gain[2], alone.gain, rtol=1e-5)
    assert len(np.unique(np.asarray(first.gain[:, -1]))) == 4


def test_noise_before_the_onset_is_as_large_as_the_equations_say(x64):
    """With almost no weight noise the gain is an autoregression of order 1 around its baseline."""
    gain = noisy_onset_toys(jax.random.key(0), 2000, Noise(0.05, 0.0)).gain[:, 20:44]
    expected = 0.05 / np.sqrt(1 - 0.5**2)
    np.testing.assert_allclose(gain.std(), expected, rtol=0.02)
    np.testing.assert_allclose(gain.mean(), 1.0, atol=0.005)
    ratio = jnp.mean((gain[:, 1:] - 1) * (gain[:, :-1] - 1)) / jnp.mean((gain - 1) ** 2)
    np.testing.assert_allclose(ratio, 0.5, atol=0.02)


def test_mean_of_noisy_repeats_peaks_near_the_noiseless_peak():
    mean = noisy_onset_toys(jax.random.key(1)).gain.mean(axis=0)
    assert abs(int(mean.argmax()) - 49) <= 1
    assert abs(float(mean.max()) - 1.4085) < 4 * 0.058 / np.sqrt(50)


def test_wrong_numbers_of_repeats_are_refused():
    with pytest.raises(ValueError, match="repeats must be at least 1: got 0"):
        noisy_onset_toys(jax.random.key(0), 0)


def test_figure_of_the_toys_draws_into_given_panels():
    figure = plot_toys(jax.random.key(0), repeats=2)
    assert plot_toys(jax.random.key(0), repeats=2, axes=figure.axes) is figure
    with pytest.raises(ValueError, match="axes must be 4 panels: got 1"):
        plot_toys(jax.random.key(0), axes=figure.axes[:1])
