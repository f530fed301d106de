"""The update rule of gain modulation: against a transcription, and what follows from it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from modulated import MASK, gradient, make_params, run
from numpy.testing import assert_allclose, assert_array_equal

from gainjax.optim.modulation import GainRule, gain_modulation, modulate, ngm_sgd
from gainjax.optim.states import get_gain, slow_params


class Sgd:
    def __init__(self, rate, momentum=0.0, nesterov=False):
        self.rate, self.momentum, self.nesterov, self.trace = rate, momentum, nesterov, 0.0

    def __call__(self, grad, weight):
        self.trace = grad + self.momentum * self.trace
        direction = grad + self.momentum * self.trace if self.nesterov else self.trace
        return -self.rate * direction


class Adam:
    def __init__(self, rate, decay=0.0, b1=0.9, b2=0.999, eps=1e-8):
        self.rate, self.decay, self.b1, self.b2, self.eps = rate, decay, b1, b2, eps
        self.m = self.v = 0.0
        self.t = 0

    def __call__(self, grad, weight):
        self.t += 1
        self.m = self.b1 * self.m + (1 - self.b1) * grad
        self.v = self.b2 * self.v + (1 - self.b2) * grad**2
        m, v = self.m / (1 - self.b1**self.t), self.v / (1 - self.b2**self.t)
        return -self.rate * (m / (np.sqrt(v) + self.eps) + self.decay * weight)


BASES = {
    "sgd": (optax.sgd(0.1), lambda: Sgd(0.1)),
    "momentum": (optax.sgd(0.1, 0.8), lambda: Sgd(0.1, 0.8)),
    "nesterov": (optax.sgd(0.1, 0.8, nesterov=True), lambda: Sgd(0.1, 0.8, True)),
    "adam": (optax.adam(0.05), lambda: Adam(0.05)),
    "adamw": (optax.adamw(0.05, weight_decay=0.1), lambda: Adam(0.05, 0.1)),
}


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("setting", [(0.9, 1.0, 0.4), (0.5, 2.0, 0.3)])
@pytest.mark.usefixtures("x64")
def test_update_rule_equals_transcription(name, setting):
    base, make_rule = BASES[name]
    decay, baseline, sensitivity = setting
    uncertainties = np.random.default_rng(1).uniform(0, 0.5, 40)  # more, and steps are chaotic
    first = make_params()
    trained, states = run(gain_modulation(base, *setting, mask=MASK), first, uncertainties)

    # Raw weights with a gain beside them: z = g W x, gradient step on W, then the gain.
    gain, kernel, bias = baseline, np.asarray(first["kernel"]) / baseline, np.asarray(first["bias"])
    kernel_rule, bias_rule = make_rule(), make_rule()
    for n, uncertainty in enumerate(uncertainties):
        kernel = kernel + kernel_rule(gain * gradient(gain * kernel, np), kernel)
        bias = bias + bias_rule(gradient(bias, np), bias)
        gain = decay * gain + (1 - decay) * baseline + sensitivity * uncertainty
        assert_allclose(trained["kernel"][n], gain * kernel, rtol=1e-9, atol=1e-12)
        assert_allclose(trained["bias"][n], bias, rtol=1e-9, atol=1e-12)
        assert_allclose(states.gain[n], gain, rtol=1e-13)
    last = jax.tree.map(lambda x: x[-1], (trained, states))
    assert_allclose(slow_params(*last)["kernel"], baseline * kernel, rtol=1e-9, atol=1e-12)
    assert_array_equal(slow_params(*last)["bias"], last[0]["bias"])
    assert_array_equal(states.step, 1 + np.arange(40))
    assert_array_equal(states.skipped, 0)


@pytest.mark.parametrize("name", [*BASES, "clipped adam"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.usefixtures("x64")
def test_neutral_setting_is_the_base(name, dtype):
    clipped = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.05))
    base = optax.with_extra_args_support(BASES[name][0] if name in BASES else clipped)
    neutral = gain_modulation(base, decay=0.0, baseline=1.0, sensitivity=0.0, mask=True)
    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=7), dtype)}
    state, base_state = neutral.init(params), base.init(params)
    # Not compiled as a whole: a compiler may round a fused program differently.
    for uncertainty in (0.0, 2.3, 1.0):
        grads = jax.tree.map(jnp.sin, params)
        updates, state = neutral.update(grads, state, params, uncertainty=uncertainty)
        expected, base_state = base.update(grads, base_state, params)
        jax.tree.map(assert_array_equal, (updates, state.base_state), (expected, base_state))
        params = optax.apply_updates(params, updates)


def spy():
    """An optimizer that does nothing and keeps what it was given."""

    def update(updates, state, params=None, **extra):
        del state
        return jax.tree.map(jnp.zeros_like, updates), (updates, params, extra)

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def loss(theta):
    return jnp.sum(jnp.cos(theta["kernel"] @ jnp.array([0.3, -1.0])) ** 2) + jnp.sum(
        theta["kernel"] * jnp.exp(theta["bias"])
    )


@pytest.mark.usefixtures("x64")
def test_base_sees_gradient_and_curvature_of_raw_weights():
    gain = 1.7
    theta = make_params()
    raw = {"kernel": theta["kernel"] / gain, "bias": theta["bias"]}
    optimizer = gain_modulation(spy(), baseline=gain, mask=MASK)
    state = optimizer.init(theta)
    extra = {"value": 3.0, "unknown": "yes"}
    grads = jax.jit(jax.grad(loss))(theta)
    _, state = optimizer.update(grads, state, theta, uncertainty=0.5, **extra)
    seen_grads, seen_params, seen_extra = state.base_state

    def raw_loss(raw):
        return loss({"kernel": gain * raw["kernel"], "bias": raw["bias"]})

    raw_grads = jax.jit(jax.grad(raw_loss))(raw)
    jax.tree.map(lambda x, y: assert_allclose(x, y, rtol=1e-13), seen_params, raw)
    jax.tree.map(lambda x, y: assert_allclose(x, y, rtol=1e-12), seen_grads, raw_grads)
    assert seen_extra == {**extra, "uncertainty": 0.5}
    # The curvature that belongs to this gradient: g for each modulated side.
    hess_raw, hess_theta = jax.jit(lambda: (jax.hessian(raw_loss)(raw), jax.hessian(loss)(theta)))()
    for row, column, power in (
        ("kernel", "kernel", 2),
        ("kernel", "bias", 1),
        ("bias", "bias", 0),
    ):
        expected = gain**power * hess_theta[row][column]
        assert_allclose(hess_raw[row][column], expected, rtol=1e-11, atol=1e-13)


@pytest.mark.usefixtures("x64")
def test_constant_gain_is_a_learning_rate():
    gain, rate = 1.7, 0.1
    theta = make_params()

    def step(base, grads):
        optimizer = gain_modulation(base, baseline=gain, sensitivity=0.0)
        return optimizer.update(grads, optimizer.init(theta), theta, uncertainty=2.0)[0]["kernel"]

    grads = make_params(1)
    # SGD feels the gain twice, in the gradient and in the effective weight; Adam once.
    assert_allclose(step(optax.sgd(rate), grads), -rate * gain**2 * grads["kernel"], rtol=1e-13)
    once = -rate * gain * np.sign(grads["kernel"])
    assert_allclose(step(optax.adam(rate, eps=1e-16), grads), once, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_emitted_update():
    theta, grads = make_params(0), make_params(1)
    optimizer = ngm_sgd(0.1, baseline=2.0)
    updates, state = optimizer.update(grads, optimizer.init(theta), theta, uncertainty=1.5)
    gain = 2.0 + 0.4 * 1.5
    assert_allclose(get_gain(state), gain, rtol=1e-15)
    expected = (gain / 2 - 1) * theta["kernel"] - gain * 0.1 * 2 * grads["kernel"]
    assert_allclose(updates["kernel"], expected, rtol=1e-14)


@pytest.mark.usefixtures("x64")
def test_max_gain():
    _, states = run(ngm_sgd(0.01, max_gain=1.5), make_params(), np.array([0.5, 2.3, 2.3, 0.0]))
    assert_allclose(states.gain, [1.2, 1.5, 1.5, 1.45], rtol=1e-14)


@pytest.mark.usefixtures("x64")
def test_non_finite_uncertainty_is_skipped_and_counted():
    optimizer = ngm_sgd(0.1, mask=MASK)
    trained, states = run(optimizer, make_params(), np.array([1.0, np.nan, np.inf, -np.inf, 0.0]))
    assert_allclose(states.gain, [1.4, 1.4, 1.4, 1.4, 1.36], rtol=1e-14)
    assert_array_equal(states.skipped, [0, 1, 2, 3, 3])
    assert np.isfinite(trained["kernel"]).all()
    # While the gain is held, the base goes on: one step with the gain squared.
    first, second = trained["kernel"][0], trained["kernel"][1]
    assert_allclose(second, first - 0.1 * 1.4**2 * gradient(first), rtol=1e-12)


def test_gain_is_wider_than_its_parameters():
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones((), jnp.float16)}
    trained, states = run(ngm_sgd(0.01, mask=True), params, np.full(60, 0.01, np.float32))
    assert states.gain.dtype == jnp.float32
    # A gain in bfloat16 would get stuck: its steps near 1.04 are .0078 wide.
    assert_allclose(states.gain[-1], 1 + 0.04 * (1 - 0.9**60), rtol=1e-6)
    assert (trained["a"].dtype, trained["b"].dtype) == (jnp.bfloat16, jnp.float16)


@pytest.mark.usefixtures("x64")
def test_gain_has_the_widest_dtype():
    params = {"a": jnp.ones(2, jnp.float32), "b": jnp.ones(2, jnp.float64)}
    optimizer = ngm_sgd(0.01, mask=True)
    state = optimizer.init(params)
    assert (state.gain.dtype, state.baseline.dtype) == (jnp.float64, jnp.float64)
    assert get_gain(optimizer.init({})).dtype == jnp.float32


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.usefixtures("strict")
def test_strict_promotion(dtype):
    params = make_params(dtype=dtype) | {"scalar": jnp.ones((), "float32")}
    optimizer = gain_modulation(optax.sgd(0.1, 0.9), max_gain=4.0)
    state = optimizer.init(params)
    for _ in range(2):
        updates, state = optimizer.update(params, state, params, uncertainty=np.float32(1.0))
        params = optax.apply_updates(params, updates)
    slow_params(params, state)


def test_ngm_sgd_is_the_published_special_case():
    uncertainties = np.linspace(0, 2, 5, dtype=np.float32)
    params = make_params(dtype=np.float32)
    schedule = optax.linear_schedule(0.1, 0.0, 5)
    for momentum in (None, 0.9):
        options = {"decay": 0.8, "baseline": 1.5, "sensitivity": 0.2, "max_gain": 2.0, "mask": MASK}
        short = run(ngm_sgd(schedule, momentum=momentum, **options), params, uncertainties)
        long = run(gain_modulation(optax.sgd(schedule, momentum), **options), params, uncertainties)
        jax.tree.map(assert_array_equal, short, long)


def test_other_rules_see_count_and_extra_arguments():
    def replay(gain, count, uncertainty, extra):
        del gain, uncertainty
        return extra["trace"][count]  # open loop

    optimizer = modulate(optax.sgd(0.0), GainRule(1.0, replay))
    trace = jnp.array([2.0, 0.5, 3.0], jnp.float32)
    params = make_params(dtype=np.float32)
    trained, states = run(optimizer, params, np.zeros(3, np.float32), trace=trace)
    assert_array_equal(states.gain, trace)
    expected = np.asarray(trace)[:, None, None] * np.asarray(params["kernel"])
    assert_allclose(trained["kernel"], expected, rtol=1e-6)


def test_gain_of_a_rule_cannot_change_the_dtype():
    rule = GainRule(1, lambda *_: 2.0 * jnp.ones((), jnp.float16))
    optimizer = modulate(optax.sgd(0.1), rule, mask=True)
    ones = jnp.ones(2, jnp.float32)
    state = optimizer.init(ones)
    _, new_state = optimizer.update(ones, state, ones, uncertainty=0)
    assert (state.gain.dtype, new_state.gain.dtype) == (jnp.float32, jnp.float32)
