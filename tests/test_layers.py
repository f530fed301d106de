"""The layers that carry their gain: when it moves, what it touches, what it is called."""

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gainjax.gain import GainDynamics, predictive_entropy
from gainjax.models.cosine import CosineDense
from gainjax.models.layers import GainDense, modulated_mask
from gainjax.models.mlp import MLP

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
DYNAMICS = GainDynamics(decay=0.9, baseline=1.5, sensitivity=0.4)


def shapes(tree):
    return jax.tree.map(jnp.shape, tree)


@pytest.fixture(scope="module")
def mlp():
    model = MLP((5, 3), (0.5, 0.5), use_bias=True, dynamics=DYNAMICS)
    return model, jax.jit(model.init)(jax.random.key(0), X)


def with_gains(variables, value):
    return {
        **variables,
        "gain": jax.tree.map(lambda g: value * jnp.ones_like(g), variables["gain"]),
    }


def test_forward_pass_multiplies_the_current_and_not_the_bias():
    layer = GainDense(3, bias_init=nn.initializers.normal(1.0))
    variables = layer.init(jax.random.key(0), X)
    gains = jnp.array([0.5, 1.0, 3.0])
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    for x in (X, X[0], X.reshape(2, 2, 6)):  # any leading shape
        out = layer.apply({**variables, "gain": {"gain": gains}}, x)
        assert_allclose(out, np.asarray(gains) * (x @ kernel) + bias, rtol=1e-5, atol=1e-6)


def test_one_gain_per_unit_at_the_baseline(mlp):
    _, variables = mlp
    assert shapes(variables["gain"]) == {"layer_0": {"gain": (5,)}, "layer_1": {"gain": (3,)}}
    for gain in jax.tree.leaves(variables["gain"]):
        assert_array_equal(gain, 1.5)  # initialization moves nothing
        assert gain.dtype == jnp.float32


def test_gain_moves_only_if_its_collection_is_mutable(mlp):
    model, variables = mlp
    fixed = model.apply(variables, X, train=True)
    again, other = model.apply(variables, X, train=True, mutable=["batch_stats"])
    assert other == {}
    logits, state = model.apply(variables, X, train=False, mutable=["gain"])
    for out in (again, logits):  # this pass still has the old gain
        assert_array_equal(out, fixed)
    expected = 0.9 * 1.5 + 0.1 * 1.5 + 0.4 * float(predictive_entropy(logits))
    for gain in jax.tree.leaves(state["gain"]):  # all units follow one signal
        assert_allclose(gain, expected, rtol=1e-6)
    assert shapes(state["gain"]) == shapes(variables["gain"])
    later, _ = model.apply({**variables, **state}, X, mutable=["gain"])
    assert np.abs(later - logits).max() > 0.1


def test_no_gradient_flows_through_the_gain(mlp):
    model, variables = mlp

    def next_gain(params):
        _, state = model.apply({**variables, "params": params}, X, mutable=["gain"])
        return state["gain"]["layer_0"]["gain"].sum()

    grads = jax.jit(jax.grad(next_gain))(variables["params"])
    assert all((g == 0).all() for g in jax.tree.leaves(grads))


def test_dynamics_may_be_traced(mlp):
    _, variables = mlp

    @jax.jit
    @jax.vmap
    def gains(dynamics):
        model = MLP((5, 3), (0.5, 0.5), use_bias=True, dynamics=dynamics)
        return model.apply(variables, X, mutable=["gain"])[1]["gain"]

    sensitivity = jnp.array([0.0, 1.0, 2.0])
    grid = GainDynamics(jnp.zeros(3), jnp.array([1.0, 1.0, 2.0]), sensitivity)
    entropy = (gains(grid)["layer_1"]["gain"][1, 0] - 1) / 1.0
    expected = np.array([1.0, 1 + entropy, 2 + 2 * entropy])
    for gain in jax.tree.leaves(gains(grid)):
        assert_allclose(gain, np.repeat(expected[:, None], gain.shape[1], 1), rtol=1e-6)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("double", [False, True])
def test_initial_weights_are_those_of_dense(use_bias, double):
    init = nn.initializers.normal(0.3)
    options = {"use_bias": use_bias, "kernel_init": init, "bias_init": init}
    with jax.enable_x64(double):
        ours = GainDense(3, **options).init(jax.random.key(5), X)["params"]
        theirs = nn.Dense(3, **options).init(jax.random.key(5), X)["params"]
        jax.tree.map(assert_array_equal, ours, theirs)
        assert {x.dtype for x in jax.tree.leaves((ours, theirs))} == {jnp.dtype("float32")}


def test_both_networks_start_from_the_same_weights(mlp):
    model, variables = mlp
    plain = MLP((5, 3), (0.5, 0.5), use_bias=True)
    params = plain.init(jax.random.key(0), X)
    assert list(params) == ["params"]
    jax.tree.map(assert_array_equal, params["params"], variables["params"])
    logits = model.apply(with_gains(variables, 1.0), X)
    assert_allclose(plain.apply(params, X), logits, rtol=1e-6, atol=1e-6)


def test_gain_of_a_bias_free_network_scales_its_logits():
    # Three modulated layers of ReLU units: the logits are g**3 f(x), so the decision stays.
    model = MLP((8, 7, 3), (0.5, 0.5, 0.5), dynamics=GainDynamics())
    variables = jax.jit(model.init)(jax.random.key(0), X)
    logits = jax.jit(model.apply)(variables, X)
    raised = jax.jit(model.apply)(with_gains(variables, 1.7), X)
    assert_allclose(raised, 1.7**3 * logits, rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_curvature_of_raw_weights_is_the_gain_squared_times_that_of_effective_ones():
    gain = 1.7
    layer, plain = GainDense(3), nn.Dense(3)
    variables = jax.tree.map(lambda x: x.astype(float), layer.init(jax.random.key(0), X))
    raw = variables["params"]
    effective = {**raw, "kernel": gain * raw["kernel"]}

    def hessian(logits_of, params):
        def loss(kernel):
            logits = logits_of({**params, "kernel": kernel})
            return -jax.nn.log_softmax(logits)[:, 0].mean()

        return jax.jit(lambda kernel: (jax.grad(loss)(kernel), jax.hessian(loss)(kernel)))(
            params["kernel"]
        )

    grad_raw, hess_raw = hessian(
        lambda p: layer.apply({"params": p, "gain": {"gain": jnp.full(3, gain)}}, X), raw
    )
    grad, hess = hessian(lambda p: plain.apply({"params": p}, X), effective)
    assert_allclose(grad_raw, gain * grad, rtol=1e-6, atol=1e-9)
    assert_allclose(hess_raw, gain**2 * hess, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_gain_does_not_change_dtypes(dtype):
    layer = GainDense(3)
    variables = layer.init(jax.random.key(0), X)
    params = jax.tree.map(lambda x: x.astype(dtype), variables["params"])
    out, state = layer.apply({**variables, "params": params}, X.astype(dtype), mutable=["gain"])
    assert out.dtype == jnp.dtype(dtype)
    assert state["gain"]["gain"].dtype == jnp.float32


@pytest.mark.usefixtures("strict")
def test_strict_promotion():
    model = MLP((5, 3), (0.5, 0.5), use_bias=True, dynamics=DYNAMICS)
    variables = jax.eval_shape(model.init, jax.random.key(0), X)
    logits, state = jax.eval_shape(lambda v: model.apply(v, X, mutable=["gain"]), variables)
    assert logits.shape == (4, 3)
    assert state["gain"] == variables["gain"]


def test_a_missing_collection_is_an_error(mlp):
    model, variables = mlp
    with pytest.raises(flax.errors.ScopeCollectionNotFound, match=r'"gain".*"/layer_0"'):
        model.apply({"params": variables["params"]}, X)


def test_modulated_mask(mlp):
    model, variables = mlp
    on = {"kernel": True, "bias": False}
    expected = {"layer_0": on, "layer_1": on}
    assert modulated_mask(variables["params"], variables["gain"]) == expected
    abstract = jax.eval_shape(model.init, jax.random.key(0), X)
    assert modulated_mask(abstract["params"], abstract["gain"]) == expected
    assert modulated_mask(variables["params"], {}) == jax.tree.map(lambda _: False, expected)


def test_modulated_mask_of_a_modulated_head():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(2, (3, 3), name="stem")(x).reshape(len(x), -1)
            return GainDense(3, name="head")(MLP((4, 2), (1.0, 1.0), True, name="backbone")(x))

    variables = jax.eval_shape(Network().init, jax.random.key(0), jnp.ones((1, 4, 4, 1)))
    off = {"kernel": False, "bias": False}
    assert modulated_mask(variables["params"], variables["gain"]) == {
        "stem": off,
        "backbone": {"layer_0": off, "layer_1": off},
        "head": {"kernel": True, "bias": False},
    }


def test_the_head_of_an_mlp_alone():
    dynamics = GainDynamics(baseline=2.0)
    whole, head, plain = (
        MLP((4, 3, 2), (1.0, 1.0, 1.0), dynamics=d, modulate=m)
        for d, m in ((dynamics, "all"), (dynamics, "head"), (None, "all"))
    )
    x = jax.random.normal(jax.random.key(1), (5, 6))
    variables = head.init(jax.random.key(0), x)
    assert list(variables["gain"]) == ["layer_2"]
    params = variables["params"]
    jax.tree.map(np.testing.assert_array_equal, params, whole.init(jax.random.key(0), x)["params"])
    logits = plain.apply({"params": params}, x)
    np.testing.assert_allclose(head.apply(variables, x), 2 * logits, rtol=1e-6)
    with pytest.raises(ValueError, match="modulate must be"):
        head.clone(modulate="tail").init(jax.random.key(0), x)


def test_a_cosine_head_reads_angles_and_a_gain_cancels_out_of_it():
    head = CosineDense(3, scale=7.0)
    variables = head.init(jax.random.key(0), X)
    params = variables["params"]
    assert shapes(params) == {"kernel": (6, 3), "scale": ()}
    assert params["scale"] == 7
    kernel, x = np.float64(params["kernel"]), np.float64(X)
    lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(kernel, axis=0)
    assert_allclose(head.apply(variables, X), 7 * x @ kernel / lengths, rtol=1e-5)
    # Neither longer weights nor longer features change the outputs; dead features give zeros.
    longer = {"params": params | {"kernel": params["kernel"] * jnp.array([1.0, 5.0, 0.1])}}
    assert_allclose(head.apply(longer, 3 * X), head.apply(variables, X), rtol=1e-5, atol=1e-6)
    assert_array_equal(head.apply(variables, 0 * X), np.zeros((4, 3)))
    slope = jax.grad(lambda p, x: head.apply({"params": p}, x).sum(), (0, 1))(params, 0 * X)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    # Any leading axes; features whose squares overflow in half precision.
    assert_array_equal(head.apply(variables, X[:, None])[:, 0], head.apply(variables, X))
    half = jnp.float16(X) * jnp.float16(1000)
    assert_allclose(head.apply(variables, half), head.apply(variables, X), rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match="scale must be > 0: got 0"):
        CosineDense(3, scale=0).init(jax.random.key(0), X)
