"""The optimizer form: update rule, consequences, errors, and where its state is found."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gainjax.gain import GainDynamics
from gainjax.optim.flatness import sharpness_aware
from gainjax.optim.modulation import GainRule, gain_modulation, modulate, ngm_sgd
from gainjax.optim.states import GainModulationState, find_gain_states, get_gain, slow_params

MASK = {"kernel": True, "bias": False}
QUICK = {"xla_backend_optimization_level": 0}  # most of the time would be compilation


def make_params(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return {
        "kernel": jnp.asarray(rng.normal(size=(3, 2)), dtype),
        "bias": jnp.asarray(rng.normal(size=2), dtype),
    }


def gradient(theta, xp=jnp):
    """Gradient of some smooth loss, element by element, for JAX and NumPy alike."""
    return 0.5 * theta + xp.sin(3 * theta)


def run(optimizer, params, uncertainties, **extra):
    """Return parameters and states after each update."""

    @functools.partial(jax.jit, compiler_options=QUICK)
    def scan(params):
        def body(carry, uncertainty):
            params, state = carry
            grads = jax.tree.map(gradient, params)
            updates, state = optimizer.update(
                grads, state, params, uncertainty=uncertainty, **extra
            )
            params = optax.apply_updates(params, updates)
            return (params, state), (params, state)

        return jax.lax.scan(body, (params, optimizer.init(params)), uncertainties)[1]

    return scan(params)


# --- The update rule ------------------------------------------------------------------------------


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


def test_mask_of_nothing_is_the_base():
    params, grads = {"w": jnp.arange(3.0)}, {"w": jnp.ones(3)}
    optimizer = ngm_sgd(0.1, mask=False)
    updates, state = optimizer.update(grads, optimizer.init(params), params, uncertainty=1.0)
    assert_array_equal(
        updates["w"], optax.sgd(0.1).update(grads, optax.sgd(0.1).init(params))[0]["w"]
    )
    assert get_gain(state) > 1
    assert_array_equal(slow_params(params, state)["w"], params["w"])


@pytest.mark.parametrize(
    "mask",
    [
        {"kernel": {"a": True, "b": True}, "bias": False},
        {"kernel": True, "bias": np.False_},
        lambda params: {"kernel": {"a": True, "b": params["kernel"]["b"].ndim == 1}, "bias": False},
        lambda params: {"kernel": True, "bias": False},
    ],
    ids=["tree", "prefix", "function of a tree", "function of a prefix"],
)
def test_masks(mask):
    params = {"kernel": {"a": jnp.ones(()), "b": jnp.ones(2)}, "bias": jnp.ones(1)}
    optimizer = ngm_sgd(0.0, mask=mask)
    state = optimizer.init(params)
    updates, state = optimizer.update(params, state, params, uncertainty=1.0)
    params = optax.apply_updates(params, updates)
    expected = {"kernel": {"a": np.float32(1.4), "b": np.full(2, 1.4)}, "bias": np.ones(1)}
    jax.tree.map(lambda x, y: assert_allclose(x, y, rtol=1e-6), params, expected)
    jax.tree.map(lambda x: assert_allclose(x, 1.0, rtol=1e-6), slow_params(params, state))


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


# --- Defaults for other people's recipes ----------------------------------------------------------

DEEP = {f"layer_{i}": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)} for i in range(4)}


def test_default_is_the_safe_setting_of_as_many_layers_as_are_modulated():
    uncertainties = np.array([0.3, 9.0, 2.0, 0.0, 0.5], np.float32)
    for mask, layers in ((None, 4), (True, 8), (lambda p: {k: k == "layer_0" for k in p}, 2)):
        safe = GainDynamics.for_layers(layers, 0.8, 1.5)
        given = run(
            gain_modulation(
                optax.adam(0.1), 0.8, 1.5, safe.sensitivity, max_gain=safe.max_gain, mask=mask
            ),
            DEEP,
            uncertainties,
        )
        default = run(gain_modulation(optax.adam(0.1), 0.8, 1.5, mask=mask), DEEP, uncertainties)
        jax.tree.map(assert_array_equal, given, default)
        assert_allclose((default[1].gain.max() / 1.5) ** layers, 2, rtol=1e-5)


def test_default_follows_a_bound_that_is_given():
    optimizer = gain_modulation(optax.sgd(0.0), max_gain=1.5)
    _, states = run(optimizer, DEEP, np.ones(200, np.float32))
    assert_allclose((states.gain[0], states.gain[-1]), (1.05, 1.5), rtol=1e-5)


def test_a_given_sensitivity_has_no_bound_and_is_that_of_the_paper():
    for optimizer in (gain_modulation(optax.sgd(0.01), sensitivity=0.4), ngm_sgd(0.01)):
        _, states = run(optimizer, DEEP, np.full(300, 2.3, np.float32))
        assert_allclose(states.gain[-1], 1 + 0.4 * 2.3 / 0.1, rtol=1e-5)


def test_default_mask_leaves_biases():
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3), "norm": {"scale": jnp.ones((1, 3))}}
    trained, _ = run(ngm_sgd(0.0), params, np.ones(1, np.float32))
    moved = jax.tree.map(lambda x, y: bool((x[-1] != y).any()), trained, params)
    assert moved == {"kernel": True, "bias": False, "norm": {"scale": False}}


def test_default_mask_of_nothing_is_refused():
    params = {"w": jnp.ones(3), "b": jnp.ones(())}
    for optimizer in (ngm_sgd(0.1), gain_modulation(optax.sgd(0.1)), optax.flatten(ngm_sgd(0.1))):
        with pytest.raises(ValueError, match=r"contain none: pass mask=True"):
            optimizer.init(params)
    assert get_gain(ngm_sgd(0.1).init({})) == 1.0  # a group without parameters


def test_sensitivity_may_be_a_schedule():
    params, uncertainties = make_params(dtype=np.float32), np.full(6, 0.5, np.float32)
    constant = run(ngm_sgd(0.1, sensitivity=0.2), params, uncertainties)
    jax.tree.map(
        assert_array_equal,
        run(ngm_sgd(0.1, sensitivity=lambda n: 0.2), params, uncertainties),
        constant,
    )
    schedule = optax.piecewise_constant_schedule(0.4, {3: 0.0})
    for optimizer in (
        ngm_sgd(0.1, sensitivity=schedule),
        gain_modulation(optax.sgd(0.1), sensitivity=schedule),
    ):
        _, states = run(optimizer, params, uncertainties)
        rise = np.diff(np.append(1.0, states.gain)) + 0.1 * (np.append(1.0, states.gain[:-1]) - 1)
        assert_allclose(rise, [0.2] * 3 + [0.0] * 3, atol=1e-6)
    bounded = ngm_sgd(0.1, sensitivity=schedule, max_gain=1.25)
    assert_allclose(run(bounded, params, uncertainties)[1].gain.max(), 1.25)


# --- Parameters of all kinds ----------------------------------------------------------------------


def test_integers_and_keys_are_never_modulated():
    params = {
        "w": jnp.ones((2, 2)),
        "counter": jnp.int32(10),
        "raw_key": jax.random.PRNGKey(3),
        "key": jax.random.key(5),
        "flag": jnp.bool_(True),
    }
    optimizer = gain_modulation(spy_without_zeros(), sensitivity=0.4, mask=True)
    state = optimizer.init(params)
    updates, state = optimizer.update(params, state, params, uncertainty=2.0)
    seen_grads, seen_params = state.base_state
    for name in ("counter", "raw_key", "flag"):
        for tree in (updates, seen_grads, seen_params):
            assert_array_equal(tree[name], params[name])
    assert (seen_params["key"] == params["key"]).all()
    slow = slow_params(params, state)
    assert_array_equal(slow["counter"], 10)
    assert (slow["key"] == params["key"]).all()
    assert_allclose(slow["w"], 1 / 1.8, rtol=1e-6)


def spy_without_zeros():
    def update(updates, state, params=None, **extra):
        return updates, (updates, params)

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def test_complex_parameters_have_a_real_gain():
    ones = jnp.ones((1, 2), jnp.float32)
    params = {"w": jnp.array([[1 + 2j, -1j]], jnp.complex64), "v": ones}
    optimizer = ngm_sgd(0.1)
    state = optimizer.init(params)
    assert state.gain.dtype == jnp.float32
    grads = {"w": jnp.array([[0.5j, 1.0]], jnp.complex64), "v": ones}
    updates, state = optimizer.update(grads, state, params, uncertainty=1.0)
    new = optax.apply_updates(params, updates)
    assert_allclose(new["w"], 1.4 * (params["w"] - 0.1 * grads["w"]), rtol=1e-6)
    assert new["w"].dtype == jnp.complex64
    assert_allclose(slow_params(new, state)["w"], params["w"] - 0.1 * grads["w"], rtol=1e-6)


@pytest.mark.parametrize("base", [optax.sgd(0.1, 0.9), optax.adam(0.1), optax.adamw(0.1)])
def test_init_of_abstract_parameters(base):
    params = make_params(dtype=np.float32)
    optimizer = gain_modulation(base, mask=MASK)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    abstract, real = (jax.tree.map(jnp.shape, optimizer.init(p)) for p in (shapes, params))
    assert abstract == real


def test_count_of_the_base_is_not_ambiguous():
    optimizer = gain_modulation(optax.adam(0.1))
    params = make_params(dtype=np.float32)
    _, states = run(optimizer, params, np.zeros(3, np.float32))
    assert_array_equal(optax.tree.get(states, "count"), [1, 2, 3])
    assert_array_equal(optax.tree.get(states, "step"), [1, 2, 3])


def test_injected_numbers_are_rounded_unless_told_otherwise():
    params = {"w": jnp.ones((2, 2), jnp.bfloat16)}

    def decays(**options):
        inject = optax.inject_hyperparams(
            gain_modulation, static_args=("base", "mask", "max_gain"), **options
        )
        optimizer = inject(optax.sgd(0.0), decay=0.9, sensitivity=0.4)
        state = optimizer.init(params)
        for uncertainty in (1.0, 0.0):
            _, state = optimizer.update(params, state, params, uncertainty=uncertainty)
        return float(get_gain(state))

    assert abs(decays() - 1.36) > 1e-4  # what Optax does
    assert abs(decays(hyperparam_dtype=jnp.float32) - 1.36) < 1e-6


@pytest.mark.usefixtures("x64")
def test_uncertainty_that_is_no_uncertainty():
    optimizer = ngm_sgd(0.1, mask=MASK)
    values = np.array([1.0, -1e-9, -5.0, 0.0])
    _, states = run(optimizer, make_params(), values)
    assert_allclose(states.gain, [1.4, 1.36, 1.324, 1.2916], rtol=1e-14)
    assert_array_equal(states.skipped, [0, 1, 2, 2])
    params = make_params()
    with pytest.raises(TypeError, match="uncertainty must be real: got complex"):
        optimizer.update(params, optimizer.init(params), params, uncertainty=1.0 + 1j)
    for wrong in ("2.3", 10**400):
        with pytest.raises(TypeError, match="uncertainty must be a real number: got"):
            optimizer.update(params, optimizer.init(params), params, uncertainty=wrong)
    with pytest.raises(TypeError, match=r"uncertainty must be a number .*: got None"):
        GainDynamics().step(1.0, None)


# --- Extra arguments ------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
def test_base_that_needs_the_loss():
    base = optax.polyak_sgd(max_learning_rate=10.0, eps=0.0)
    optimizer = gain_modulation(base, baseline=2.0, sensitivity=0.0, mask=True)
    theta, grads = make_params(0), make_params(1)
    state = optimizer.init(theta)
    updates, _ = optimizer.update(grads, state, theta, uncertainty=1.0, value=0.3)
    norm = sum((2 * np.asarray(g) ** 2).sum() * 2 for g in grads.values())  # of raw gradients
    assert_allclose(updates["bias"], -0.3 / norm * 4 * grads["bias"], rtol=1e-12)
    with pytest.raises(TypeError, match="value"):
        optimizer.update(grads, state, theta, uncertainty=1.0)


def test_base_with_reduce_on_plateau():
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1, accumulation_size=1)
    optimizer = gain_modulation(optax.chain(optax.sgd(0.1), plateau))
    params = make_params(dtype=np.float32)
    _, states = run(optimizer, params, np.zeros(6, np.float32), value=1.0)
    assert states.base_state[1].scale[-1] < 1.0


def uneven_loss(theta, shift=0.0):
    """A loss that does not treat all directions alike."""
    leaves = [leaf.ravel() for leaf in jax.tree.leaves(theta)]
    flat = jnp.concatenate(leaves) - shift
    return jnp.sum(jnp.arange(1, flat.size + 1) * flat**2) + jnp.sum(jnp.cos(flat))


BASES_THAT_CALL = {
    "sam": sharpness_aware(optax.sgd(0.01), radius=0.3),
    "backtracking": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(20)),
    "lbfgs": optax.lbfgs(),
}


@pytest.mark.exhaustive
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mask", [True, MASK])
@pytest.mark.parametrize("shift", [None, 0.5])
@pytest.mark.parametrize("name", BASES_THAT_CALL)
def test_base_that_calls_functions_of_parameters_sees_raw_weights(name, shift, mask):
    gain, base, params = 2.0, BASES_THAT_CALL[name], make_params(3)
    extra = {} if shift is None or name == "sam" else {"shift": shift}
    scale = jax.tree.map(
        lambda on: gain if on else 1.0, MASK if mask is MASK else dict.fromkeys(params, True)
    )

    def effective(raw):
        return jax.tree.map(jnp.multiply, raw, scale)

    def train(optimizer, params, function, **more):
        state = optimizer.init(params)
        for _ in range(6):
            value, grads = jax.value_and_grad(function)(params, **extra)
            about = {"value": value, "grad": grads, "value_fn": function, **extra}
            if name == "sam":
                about = {"grad_fn": lambda p, _: jax.grad(function)(p)}
            updates, state = optimizer.update(grads, state, params, **about, **more)
            params = optax.apply_updates(params, updates)
        return params

    constant = gain_modulation(base, baseline=gain, sensitivity=0.0, mask=mask)
    modulated = train(constant, effective(params), uneven_loss, uncertainty=1.0)
    raw = train(base, params, lambda w, shift=0.0: uneven_loss(effective(w), shift))
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-9), modulated, effective(raw))


@pytest.mark.exhaustive
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mask", [True, MASK])
def test_sam_of_optax_in_opaque_mode(mask):
    params, radius = make_params(3), 0.3
    worst = optax.chain(optax.contrib.normalize(), optax.sgd(radius))
    theirs = optax.contrib.sam(optax.adam(0.05), worst, opaque_mode=True)
    ours = sharpness_aware(optax.adam(0.05), radius)

    def train(base):
        optimizer = gain_modulation(base, 0.8, 1.5, 0.3, mask=mask)

        def step(carry, uncertainty):
            params, state = carry
            updates, state = optimizer.update(
                jax.grad(uneven_loss)(params),
                state,
                params,
                uncertainty=uncertainty,
                value=1.0,
                grad_fn=lambda p, _: jax.grad(uneven_loss)(p),
            )
            return (optax.apply_updates(params, updates), state), state.gain

        start = (params, optimizer.init(params))
        (last, _), gains = jax.lax.scan(step, start, jnp.array([1.0, 0.5, 0.0, 2.0]))
        return last, gains

    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-10), train(theirs), train(ours))


def test_updates_have_the_dtype_of_their_parameters():
    params, grads = make_params(0, np.float32), make_params(1, jnp.bfloat16)
    optimizer = ngm_sgd(0.1, mask=True)
    updates, _ = optimizer.update(grads, optimizer.init(params), params, uncertainty=2.0)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(updates))


def test_plain_numbers_are_parameters():
    optimizer = ngm_sgd(0.5, sensitivity=0.0, mask=True)
    updates, state = optimizer.update(2.0, optimizer.init(1.0), 1.0, uncertainty=0.0)
    assert float(updates) == -1.0
    assert float(slow_params(jnp.float32(3.0), state)) == 3.0


# --- Errors ---------------------------------------------------------------------------------------


def test_update_without_its_arguments():
    params = make_params(dtype=np.float32)
    optimizer = ngm_sgd(0.1)
    state = optimizer.init(params)
    with pytest.raises(TypeError, match=r"keyword `uncertainty`.*predictive_entropy.*TrainState"):
        optimizer.update(params, state, params)
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(params, state, uncertainty=1.0)
    within = optax.chain(optax.clip(1.0), optax.MultiSteps(optimizer, 2))
    with pytest.raises(
        TypeError, match=r"wrappers do not pass it to optax.MultiSteps: put that in"
    ):
        within.update(params, within.init(params), params, uncertainty=1.0)
    for shape in ((1,), (3, 2)):
        with pytest.raises(ValueError, match=rf"uncertainty must be a scalar.*\({shape[0]},"):
            optimizer.update(params, state, params, uncertainty=np.ones(shape))


@pytest.mark.parametrize("base", [optax.sgd, 0.1, None, "sgd"])
def test_base_that_is_no_optimizer(base):
    with pytest.raises(TypeError, match=r"base must be an optax.GradientTransformation"):
        gain_modulation(base)


@pytest.mark.parametrize("make", [lambda **k: gain_modulation(optax.sgd(0.1), **k), ngm_sgd])
def test_ranges_are_checked_at_once(make):
    options = {"learning_rate": 0.1} if make is ngm_sgd else {}
    for name, value in (
        ("decay", 1.0),
        ("decay", np.nan),
        ("baseline", 0.0),
        ("sensitivity", -0.1),
        ("max_gain", 0.5),
        ("max_gain", np.nan),
    ):
        with pytest.raises(ValueError, match=f"^{name} must be"):
            make(**options, **{name: value})


def test_one_gain_has_one_number_of_each_kind():
    options = {"decay": 0.5, "baseline": 0.9, "sensitivity": 0.1}
    for name in (*options, "max_gain"):
        with pytest.raises(ValueError, match=rf"^{name} must be one number: got .*shape \(1,\)"):
            gain_modulation(optax.sgd(0.1), **options | {name: np.array([0.9])})
    with pytest.raises(ValueError, match=r"^decay must be in \[0, 1\)"):
        gain_modulation(optax.sgd(0.1), jnp.array(-0.1))


def test_an_optimizer_that_flattens_belongs_inside():
    params = make_params(dtype=np.float32)
    outside = optax.flatten(ngm_sgd(0.1, mask=True))
    state = outside.init(params)
    with pytest.raises(ValueError, match=r"Put optax.flatten.* inside the gain modulation"):
        slow_params(params, state)
    with pytest.raises(ValueError, match=r"grad and loss_grad must be nested.*optax.flatten"):
        outside.update(params, state, params, uncertainty=1.0, grad=params)
    inside = gain_modulation(optax.flatten(optax.sgd(0.1)), sensitivity=0.4, mask=True)
    both = inside, ngm_sgd(0.1, mask=True)
    found, wanted = (
        one.update(params, one.init(params), params, uncertainty=1.0, grad=params)[0]
        for one in both
    )
    jax.tree.map(functools.partial(assert_allclose, rtol=1e-6), found, wanted)


def test_masks_that_do_not_fit():
    params = make_params(dtype=np.float32)
    for mask in ({"kernel": True}, {"kernel": True, "head": False}, [True, False]):
        with pytest.raises(ValueError, match=r"^mask must have the structure of the parameters"):
            ngm_sgd(0.1, mask=mask).init(params)
    for mask in ("kernel", 1, {"kernel": "on", "bias": "off"}):
        with pytest.raises(TypeError, match=r"^mask must hold booleans"):
            ngm_sgd(0.1, mask=mask).init(params)


def test_states_without_a_gain():
    params = make_params(dtype=np.float32)
    state = optax.chain(optax.clip(1.0), optax.adam(0.1)).init(params)
    with pytest.raises(ValueError, match="exactly one gain: found 0 in a tuple"):
        get_gain(state)
    with pytest.raises(ValueError, match="holds no gain: got a tuple"):
        slow_params(params, state)
    assert find_gain_states(state) == []


def test_slow_params_of_other_parameters():
    params = make_params(dtype=np.float32)
    for optimizer, other in (
        (ngm_sgd(0.1), {"params": params}),
        (optax.flatten(ngm_sgd(0.1, mask=True)), params),
    ):
        with pytest.raises(ValueError, match="params must be nested like"):
            slow_params(other, optimizer.init(params))
    nothing = ngm_sgd(0.1, mask=lambda p: jax.tree.map(lambda _: False, p))
    jax.tree.map(assert_array_equal, slow_params(params, nothing.init(params)), params)


def test_negative_uncertainty():
    params = make_params(dtype=np.float32)
    optimizer = ngm_sgd(0.1)
    with pytest.raises(ValueError, match=r"uncertainty must be >= 0: got -1\.0"):
        optimizer.update(params, optimizer.init(params), params, uncertainty=-1.0)


# --- The state inside composites ------------------------------------------------------------------

PAPER = {"sensitivity": 0.4}
LABELS = {"kernel": "modulated", "bias": "plain"}


def injected(**options):
    return optax.inject_hyperparams(gain_modulation, static_args=("base", "mask"))(
        optax.sgd(0.0), **PAPER | options
    )


def forwarding(multi_steps):
    """As Optax has it, only an outermost MultiSteps takes extra arguments."""
    return optax.GradientTransformationExtraArgs(multi_steps.init, multi_steps.update)


# Each is built on one modulation with a resting base, so that the slow weights never move.
COMPOSITES = {
    "alone": lambda **k: ngm_sgd(0.0, mask=MASK, **k),
    "chain": lambda **k: optax.chain(
        optax.clip_by_global_norm(1.0), optax.identity(), ngm_sgd(0.0, mask=MASK, **k)
    ),
    "named chain": lambda **k: optax.named_chain(
        ("z", optax.identity()), ("gain", ngm_sgd(0.0, mask=MASK, **k))
    ),
    "partition": lambda **k: optax.partition(
        {"modulated": ngm_sgd(0.0, **k), "plain": optax.adam(0.0)}, LABELS
    ),
    "masked": lambda **k: optax.chain(
        optax.masked(ngm_sgd(0.0, **k), MASK),
        optax.masked(optax.set_to_zero(), {"kernel": False, "bias": True}),
    ),
    "mask in partition": lambda **k: optax.partition(
        {"modulated": ngm_sgd(0.0, mask=MASK, **k), "plain": optax.set_to_zero()}, LABELS
    ),
    "MultiSteps": lambda **k: optax.MultiSteps(ngm_sgd(0.0, mask=MASK, **k), 1),
    "inject_hyperparams": lambda **k: injected(mask=MASK, **k),
    "apply_if_finite": lambda **k: optax.apply_if_finite(ngm_sgd(0.0, mask=MASK, **k), 3),
    "nested": lambda **k: optax.apply_if_finite(
        optax.chain(
            optax.clip(1.0),
            forwarding(
                optax.MultiSteps(
                    optax.partition({"modulated": injected(**k), "plain": optax.sgd(0.0)}, LABELS),
                    1,
                )
            ),
        ),
        3,
    ),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_state_is_found_in(name):
    optimizer = COMPOSITES[name](baseline=2.0)
    params = make_params(dtype=np.float32)
    assert get_gain(optimizer.init(params)) == 2
    trained, states = run(optimizer, params, np.array([1.0, 2.0], np.float32))
    assert_allclose(get_gain(states), [2.4, 3.16], rtol=1e-6)
    assert_allclose(trained["kernel"][-1], 1.58 * params["kernel"], rtol=1e-5)
    # The trajectory has a leading axis, in parameters and state alike.
    slow = jax.jit(slow_params)(trained, states)
    for n in range(2):
        assert_allclose(slow["kernel"][n], params["kernel"], rtol=1e-5)
        assert_array_equal(slow["bias"][n], params["bias"])


def test_several_modulations():
    optimizer = optax.partition(
        {
            "fast": ngm_sgd(0.0, sensitivity=1.0),
            "slow": ngm_sgd(0.0, baseline=2.0, mask=True),
        },
        {"kernel": "fast", "bias": "slow"},
    )
    params = make_params(dtype=np.float32)
    trained, states = run(optimizer, params, np.ones(3, np.float32))
    last, state = jax.tree.map(lambda x: x[-1], (trained, states))
    with pytest.raises(ValueError, match="exactly one gain: found 2"):
        get_gain(state)
    found = find_gain_states(state)
    assert all(isinstance(s, GainModulationState) for s in found)
    assert_allclose(sorted(float(s.gain) for s in found), [3.084, 3.71], rtol=1e-6)
    assert_allclose(last["kernel"], 3.71 * params["kernel"], rtol=1e-5)
    slow = slow_params(last, state)
    jax.tree.map(lambda x, y: assert_allclose(x, y, rtol=1e-5), slow, params)
    alone = get_gain(state.inner_states["fast"])
    assert_allclose(alone, 3.71, rtol=1e-6)


def test_slow_params_of_a_vmapped_state():
    optimizer = ngm_sgd(0.0, mask=MASK)
    one = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(3)}

    @jax.jit
    @jax.vmap
    def train(scale, uncertainty):
        params = jax.tree.map(lambda x: scale * x, one)
        updates, state = optimizer.update(
            params, optimizer.init(params), params, uncertainty=uncertainty
        )
        return optax.apply_updates(params, updates), state

    # As many runs as rows, so that a wrong axis would not be noticed by its shape.
    trained, state = train(jnp.arange(1.0, 4.0), jnp.array([0.0, 1.0, 2.0]))
    assert_allclose(get_gain(state), [1.0, 1.4, 1.8], rtol=1e-6)
    assert_allclose(trained["kernel"][2], np.full((3, 2), 1.8 * 3), rtol=1e-6)
    for slow in (jax.jit(slow_params), jax.jit(jax.vmap(slow_params))):
        for name, leaf in slow(trained, state).items():
            expected = np.arange(1.0, 4.0).reshape(-1, *(1,) * one[name].ndim) * one[name]
            assert_allclose(leaf, expected, rtol=1e-6)


def test_multi_steps_takes_the_last_uncertainty():
    optimizer = optax.MultiSteps(ngm_sgd(0.1), 2)
    _, states = run(optimizer, make_params(dtype=np.float32), np.array([9.0, 1.0, 9.0, 0.0], "f4"))
    assert_allclose(get_gain(states), [1.0, 1.4, 1.4, 1.36], rtol=1e-6)


def test_apply_if_finite_holds_the_gain_with_the_weights():
    optimizer = optax.apply_if_finite(ngm_sgd(0.1, mask=True), 3)
    params = {"w": jnp.ones(2)}
    state = optimizer.init(params)
    bad = {"w": jnp.array([1.0, jnp.nan])}
    updates, state = optimizer.update(bad, state, params, uncertainty=2.0)
    assert_array_equal(updates["w"], 0.0)
    assert get_gain(state) == 1.0
    updates, state = optimizer.update(params, state, params, uncertainty=2.0)
    assert_allclose(get_gain(state), 1.8, rtol=1e-6)
