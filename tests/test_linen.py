"""Modules of Flax Linen as models."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import INPUTS, KEY, X, equal
from numpy.testing import assert_allclose, assert_array_equal

from gainjax.gain import GainDynamics, predictive_entropy
from gainjax.models import MLP, SlimResNet18, from_linen, modulated_mask
from gainjax.optim.masks import default_mask


def networks_with_dynamics():
    mlp = MLP((8, 7, 3), (0.5, 0.5, 0.5), use_bias=True)
    return {"mlp": (mlp, X), "resnet": (SlimResNet18(3, 2), X[:4, :3].reshape(2, 2, 1, 3))}


@pytest.mark.parametrize("name", ["mlp", "resnet"])
@pytest.mark.parametrize("modulate", ["all", "head"])
def test_the_presets_have_both_forms(name, modulate):
    module, x = networks_with_dynamics()[name]
    model = from_linen(module).choose(modulate)
    twin = model.twin(GainDynamics(baseline=1.5))
    module = module.clone(modulate=modulate)
    init = functools.partial(jax.eval_shape, module.clone(dynamics=GainDynamics()).init)
    variables = init(KEY, x)
    params, state = jax.eval_shape(model.init, KEY, x)
    assert params == variables["params"]
    assert "gain" not in state
    assert model.modulated(params) == modulated_mask(params, variables["gain"])
    own_params, own_state = jax.eval_shape(twin.init, KEY, x)
    assert own_params == params
    assert own_state["gain"] == variables["gain"]
    assert twin.modulated(params) == model.modulated(params)
    gains = {"gain": jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1.5), variables["gain"])}
    assert {name: gain.shape for name, gain in twin.gains_of(gains).items()} == {"gain": ()}
    assert twin.gains_of(gains)["gain"] == 1.5
    assert model.gains_of(state) == {}


def test_the_adapter_changes_no_bit_of_the_mlp():
    module = MLP((8, 7, 3), (0.5, 0.5, 0.5))
    model = from_linen(module)
    params, state = model.init(KEY, X)
    equal(params, module.init(KEY, X)["params"])
    assert state == {}
    outputs, state = model.apply(params, state, X, train=True, key=KEY)
    assert_array_equal(outputs, module.apply({"params": params}, X))
    assert state == {}
    twin = model.twin(GainDynamics())
    params, state = twin.init(KEY, X)
    outputs, moved = twin.apply(params, state, X, train=True, key=KEY)
    variables = {"params": params, **state}
    right, right_state = module.clone(dynamics=GainDynamics()).apply(variables, X, mutable=["gain"])
    assert_array_equal(outputs, right)
    equal(moved, right_state)
    equal(twin.apply(params, moved, X, train=False, key=None)[1], moved)


def test_dynamics_of_a_twin_may_be_traced():
    model = from_linen(MLP((5, 3), (0.5, 0.5)))

    @jax.vmap
    def gain(sensitivity):
        twin = model.twin(GainDynamics(sensitivity=sensitivity))
        params, state = twin.init(KEY, X)
        outputs, state = twin.apply(params, state, X, train=True, key=KEY)
        return twin.gains_of(state)["gain"], predictive_entropy(outputs)

    gains, entropy = gain(jnp.array([0.0, 0.5, 2.0]))
    assert_allclose(gains, 1 + np.array([0, 0.5, 2]) * entropy, rtol=1e-6)


def test_a_choice_is_one_model_each():
    model = from_linen(MLP((5, 3), (0.5, 0.5)))
    assert model.choose("head") is model.choose("head")
    with pytest.raises(ValueError, match="modulate must be 'head' or 'all'"):
        model.choose("tail").init(KEY, X)


def test_the_mask_of_gains_is_known_after_initialization():
    model = from_linen(MLP((5, 3), (0.5, 0.5)))
    params = MLP((5, 3), (0.5, 0.5)).init(KEY, X)["params"]
    with pytest.raises(ValueError, match=r"call jax.eval_shape\(model.init, key, x\) first"):
        model.modulated(params)
    jax.eval_shape(model.init, KEY, X)
    assert all(jax.tree.leaves(model.modulated(params)))


def test_a_mask_of_ones_own_ends_the_form_in_the_model():
    model = from_linen(MLP((5, 3), (0.5, 0.5)), mask={"layer_0": True, "layer_1": False})
    assert (model.twin, model.choose) == (None, None)
    params, _ = model.init(KEY, X)
    assert jax.tree.leaves(model.modulated(params)) == [True, False]


def test_a_field_called_dynamics_without_gains_is_told():
    class Other(nn.Module):
        dynamics: object = None

        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x)

    with pytest.raises(ValueError, match="no collection 'gain'"):
        from_linen(Other()).init(KEY, X)
    assert from_linen(Other(dynamics="leapfrog")).twin is None
    assert from_linen(Other(), mask=default_mask).init(KEY, X)[1] == {}


@pytest.mark.parametrize("word", ["train", "training", "is_training", "deterministic"])
def test_linen_is_told_whether_it_trains(word):
    body = f"def __call__(self, x, {word}): return x * (2.0 if {word} else 1.0)"
    scope: dict = {}
    exec(body, scope)
    network = type("Network", (nn.Module,), {"__call__": nn.compact(scope["__call__"])})
    model = from_linen(network())
    params, state = model.init(KEY, X)
    trained, _ = model.apply(params, state, X, train=True, key=KEY)
    evaluated, _ = model.apply(params, state, X, train=False, key=None)
    assert (trained[0, 0] > evaluated[0, 0]) == ((word != "deterministic") == (X[0, 0] > 0))


def test_every_stream_of_linen_is_served_with_keys_of_its_own():
    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            if not train:
                return x
            streams = ("dropout", "noise", "path")
            return jnp.stack([jax.random.normal(self.make_rng(name)) for name in streams])

    model = from_linen(Noisy())
    numbers, _ = model.apply({}, {}, X, train=True, key=KEY)
    others, _ = model.apply({}, {}, X, train=True, key=jax.random.key(8))
    assert len(np.unique([*numbers, *others])) == 6


def test_any_collection_is_state_and_a_growing_one_is_refused():
    class Counts(nn.Module):
        sows: bool = False

        @nn.compact
        def __call__(self, x):
            calls = self.variable("counts", "calls", lambda: jnp.int32(0))
            if not self.is_initializing():
                calls.value += 1
            if self.sows:
                self.sow("losses", "norm", jnp.sum(x))
            return x

    model = from_linen(Counts())
    params, state = model.init(KEY, X)
    for calls in range(3):
        assert state["counts"]["calls"] == calls
        _, state = model.apply(params, state, X, train=True, key=KEY)
    model = from_linen(Counts(sows=True))
    with pytest.raises(ValueError, match="Counts must keep the structure of the state"):
        model.apply(*model.init(KEY, X), X, train=True, key=KEY)


def test_partitioned_parameters_are_taken_out_of_their_boxes():
    init = nn.with_partitioning(nn.initializers.ones, ("data", None))
    model = from_linen(nn.Dense(3, kernel_init=init))
    params, state = model.init(KEY, X)
    assert params["kernel"].shape == (INPUTS, 3)
    assert_allclose(model.apply(params, state, X, train=False, key=None)[0][:, 0], X.sum(1), 1e-5)
