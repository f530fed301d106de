"""A gain as a temperature and as a factor of the step."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gainjax import gain_modulation, get_gain
from gainjax.analysis import (
    boost_effect,
    effective_step,
    logit_scale,
    loss_at,
    plot_temperature,
    softmax_temperature,
    temperature_trace,
    the_recorded_gain,
)


@pytest.fixture
def network(x64):
    """A bias-free ReLU network of three layers in float64: its function, weights and a batch."""

    def apply(weights, x):
        for w in weights[:-1]:
            x = jax.nn.relu(x @ w)
        return x @ weights[-1]

    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((5, 7), (7, 6), (6, 4))
    weights = [jax.random.normal(*of) for of in zip(keys[:3], shapes, strict=True)]
    x = jax.random.normal(keys[3], (9, 5))
    return apply, weights, x, jnp.arange(9) % 4


def loss_of(logits, labels):
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@pytest.mark.exhaustive
def test_gain_is_a_temperature_and_a_factor_of_the_gradient(network):
    apply, weights, x, labels = network
    gain = 1.7
    theta = [gain * w for w in weights]
    raw, pull_back = jax.vjp(lambda w: apply(w, x), weights)
    np.testing.assert_allclose(apply(theta, x), logit_scale(gain, 3) * raw, rtol=1e-12)
    by_raw = jax.grad(lambda w: loss_of(apply([gain * v for v in w], x), labels))(weights)
    by_effective = jax.grad(lambda t: loss_of(apply(t, x), labels))(theta)
    error = jax.nn.softmax(raw / softmax_temperature(gain, 3)) - jax.nn.one_hot(labels, 4)
    (split,) = pull_back(logit_scale(gain, 3) * error / len(x))
    for found, effective, of_split in zip(by_raw, by_effective, split, strict=True):
        np.testing.assert_allclose(found, gain * effective, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(found, of_split, rtol=1e-11, atol=1e-13)


@pytest.mark.slow
def test_effective_step_is_that_of_the_optimizer(network):
    """θ(t+1) = g(t+1)/g(t) θ(t) - (effective step) ∇θ, over updates whose gain moves."""
    apply, theta, x, labels = network
    optimizer = gain_modulation(optax.sgd(0.03), 0.7, 1.2, 0.5)
    state, gains = optimizer.init(theta), []
    for uncertainty in (0.9, 0.1, 0.4):
        gains.append(get_gain(state))
        grads = jax.grad(lambda t: loss_of(apply(t, x), labels))(theta)
        updates, state = optimizer.update(grads, state, theta, uncertainty=uncertainty)
        new = optax.apply_updates(theta, updates)
        ahead = jnp.stack([gains[-1], get_gain(state)])
        step = effective_step(ahead, 0.03)[0]
        for was, now, grad in zip(theta, new, grads, strict=True):
            expected = ahead[1] / ahead[0] * was - step * grad
            np.testing.assert_allclose(now, expected, rtol=1e-12, atol=1e-14)
        theta = new
    np.testing.assert_allclose(effective_step([2.0, 2.0], 0.03), [0.03 * 4])


def test_loss_at_another_gain_is_that_of_the_network_there(network):
    apply, weights, x, labels = network
    logits = apply([1.6 * w for w in weights], x)
    expected = {g: loss_of(apply([g * w for w in weights], x), labels) for g in (1.0, 1.6, 2.5)}
    for gain, loss in expected.items():
        np.testing.assert_allclose(loss_at(logits, labels, 1.6, 3, gain), loss, rtol=1e-12)
    effect = boost_effect(logits, labels, 1.6, 3)
    np.testing.assert_allclose(effect, expected[1.6] - expected[1.0], rtol=1e-10)


def test_boost_lowers_the_loss_of_right_answers_and_raises_that_of_wrong_ones(x64):
    logits = jnp.array([[3.0, 1.0, 0.0]])
    assert boost_effect(logits, jnp.array([0]), 2.0, 1) < 0
    assert boost_effect(logits, jnp.array([2]), 2.0, 1) > 0
    assert boost_effect(logits, jnp.array([2]), 1.0, 1) == 0


@pytest.mark.slow
def test_temperature_of_a_run_follows_its_gain(ngm_curves):
    trace = temperature_trace(ngm_curves, layers=3)
    recorded = the_recorded_gain(ngm_curves)
    np.testing.assert_allclose(trace[0], recorded.gain**-3.0, rtol=1e-12)
    np.testing.assert_allclose(
        trace[0, 0, :9], softmax_temperature(recorded.gain[0, :9], 3), rtol=1e-5
    )
    with pytest.raises(ValueError, match="layers must be at least 0: got -1"):
        softmax_temperature(2.0, -1)


def test_figure_of_temperature_and_of_the_step(digits_run, ngm_curves):
    figure = plot_temperature(
        digits_run[0], 3, colors={"ngm-adam": "#123456"}, labels={"ngm-sgd": "ours"}
    )
    above, below = figure.axes
    gain = digits_run[0]["gain"].sel(setting="ngm-sgd").values.astype(np.float64)
    np.testing.assert_allclose(above.lines[0].get_ydata(), (gain**-3).mean(0), rtol=1e-6)
    step = 0.01 * gain[:, :-1] * gain[:, 1:]
    np.testing.assert_allclose(below.lines[0].get_ydata(), step.mean(0), rtol=1e-5)
    assert [line.get_label() for line in above.lines[:2]] == ["ours", "ngm-adam"]
    assert below.lines[1].get_color() == "#123456"
    assert plot_temperature(ngm_curves, 3, axes=figure.axes) is figure
    figure.draw_without_rendering()
    with pytest.raises(ValueError, match="layers must be at least 0: got -1"):
        plot_temperature(ngm_curves, -1)
    with pytest.raises(ValueError, match=r"colors must be of ngm-sgd: got one of 'sgd'"):
        plot_temperature(ngm_curves, 3, colors={"sgd": "red"})
    spec = json.loads(ngm_curves.attrs["spec"])
    rates = np.linspace(0.01, 0.02, ngm_curves.sizes["update"])
    for row in spec["settings"]:
        row["hyperparameters"]["learning_rate"] = {"schedule": "s", "values": rates.tolist()}
    scheduled = plot_temperature(ngm_curves.assign_attrs(spec=json.dumps(spec)), 3).axes[1]
    expected = (rates[:-1] * gain[:, :-1] * gain[:, 1:]).mean(0)
    np.testing.assert_allclose(scheduled.lines[0].get_ydata(), expected, rtol=1e-5)
    for row in spec["settings"]:
        del row["hyperparameters"]["learning_rate"]
    with pytest.raises(ValueError, match="with a learning rate: 'ngm-sgd' has"):
        plot_temperature(ngm_curves.assign_attrs(spec=json.dumps(spec)), 3)
