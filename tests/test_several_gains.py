"""Gains of other makes than the one of a method: several of them, in layers, within wrappers."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from flax import nnx
from interruptions import crash, numbers
from numpy.testing import assert_allclose

import gainjax

SHORT = {"updates_per_task": 4, "eval_examples": 20, "seeds": 2, "threads": 1, "chunk": 2}
DYNAMICS = {
    "head": gainjax.GainDynamics(0.9, 1.0, 0.4),
    "body": gainjax.GainDynamics(0.5, 1.2, 0.1, max_gain=1.3),
}


def label(params):
    """Name the group of each parameter: that of the last layer, or that of the others."""
    return {layer: "head" if layer == "layer_2" else "body" for layer in params}


def two_gains(learning_rate=0.05, momentum=0.5):
    base = optax.sgd(learning_rate, momentum)
    parts = {
        name: gainjax.gain_modulation(
            base, one.decay, one.baseline, one.sensitivity, max_gain=one.max_gain
        )
        for name, one in DYNAMICS.items()
    }
    return optax.partition(parts, label)


def follows(gain, dynamics, uncertainty):
    """Check gains (seeds, updates) against their rule in float64."""
    wanted = np.full(len(gain), dynamics.baseline, np.float64)
    for update in range(gain.shape[1]):
        assert_allclose(gain[:, update], wanted, rtol=1e-5)
        burst = dynamics.sensitivity * uncertainty[:, update].astype(np.float64)
        wanted = dynamics.decay * wanted + (1 - dynamics.decay) * dynamics.baseline + burst
        wanted = np.minimum(wanted, dynamics.max_gain or np.inf)


@pytest.mark.exhaustive
def test_gains_of_a_partition_follow_their_rules_and_are_resumed(tmp_path):
    arguments = ("split-digits", {"two": two_gains, "sgd": "sgd"})
    curves = gainjax.run(*arguments, **SHORT)
    assert sorted(curves.group.values) == ["body", "head"]
    two = curves.sel(setting="two")
    for name, dynamics in DYNAMICS.items():
        follows(two.gains.sel(group=name).values, dynamics, two.uncertainty.values)
    assert_allclose(two.gain, two.gains.mean("group"), rtol=1e-6)
    assert curves.gains.sel(setting="sgd").isnull().all()
    crash(10, *arguments, label="two", out=tmp_path / "run", **SHORT)
    assert numbers(gainjax.run(*arguments, out=tmp_path / "run", **SHORT)).identical(
        numbers(curves)
    )


@pytest.mark.exhaustive
def test_a_gain_within_wrappers_is_the_gain_itself():
    def plain(learning_rate=0.05):
        return gainjax.ngm_sgd(learning_rate)

    def every(params):
        return jax.tree.map(lambda _: True, params)

    curves = gainjax.run(
        "split-digits",
        {
            "plain": plain,
            "masked": optax.masked(plain(), every),
            "partition": optax.partition({"all": plain()}, lambda params: "all"),
            "every step": optax.MultiSteps(plain(), 1),
            "if finite": optax.apply_if_finite(plain(), 3),
        },
        **SHORT,
    )
    wanted = curves.sel(setting="plain")
    assert wanted.gain.max() > 2
    for setting in curves.setting.values[1:]:
        found = curves.sel(setting=setting)
        assert_allclose(found.gain, wanted.gain, rtol=1e-4, err_msg=setting)
        assert_allclose(found.train_loss, wanted.train_loss, rtol=1e-4, err_msg=setting)


class Linen(nn.Module):
    """A network whose layers have gains of different dynamics, in their state."""

    @nn.compact
    def __call__(self, x):
        body = gainjax.models.GainDense(32, DYNAMICS["body"], name="body")
        head = gainjax.models.GainDense(10, DYNAMICS["head"], name="head")
        outputs = head(nn.relu(body(x.reshape(len(x), -1))))
        for layer in (body, head):
            layer.advance(gainjax.predictive_entropy(outputs))
        return outputs


class Nnx(nnx.Module):
    """The same network."""

    def __init__(self, rngs):
        self.body = gainjax.nnx.GainLinear(64, 32, dynamics=DYNAMICS["body"], rngs=rngs)
        self.head = gainjax.nnx.GainLinear(32, 10, dynamics=DYNAMICS["head"], rngs=rngs)

    def __call__(self, x):
        outputs = self.head(nnx.relu(self.body(x.reshape(len(x), -1))))
        for layer in (self.body, self.head):
            layer.advance(gainjax.predictive_entropy(outputs))
        return outputs


MODELS = {"linen": Linen(), "nnx": gainjax.models.from_nnx(lambda rngs: Nnx(rngs))}


@pytest.mark.exhaustive
@pytest.mark.parametrize("library", MODELS)
def test_gains_in_layers_are_recorded(library):
    curves = gainjax.run("split-digits", ["sgd"], model=MODELS[library], **SHORT).sel(setting="sgd")
    assert sorted(curves.group.values) == ["body", "head"]
    for name, dynamics in DYNAMICS.items():
        follows(curves.gains.sel(group=name).values, dynamics, curves.uncertainty.values)


@pytest.mark.parametrize("library", MODELS)
def test_a_gain_in_the_optimizer_and_in_layers_is_refused(library, tmp_path):
    with pytest.raises(ValueError, match=r"gains in its layers \(body, head\).*such as 'sgd'"):
        gainjax.run("split-digits", ["ngm-sgd"], model=MODELS[library], out=tmp_path, **SHORT)
    assert not (tmp_path / "progress").exists()


def test_gains_in_one_layer_alone_are_one():
    layer = gainjax.models.from_linen(gainjax.models.GainDense(3, DYNAMICS["body"]))
    _, state = layer.init(jax.random.key(0), np.ones((2, 4), np.float32))
    assert list(layer.gains_of(state)) == ["gain"]
    assert_allclose(layer.gains_of(state)["gain"], 1.2, rtol=1e-6)


@pytest.mark.exhaustive
def test_stacked_layers_have_a_gain_each():
    """One variable holds the gains of all layers of `nn.scan`."""

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, h, _):
            dense = gainjax.GainDense(10, DYNAMICS["head"], name="dense")
            h = dense(h)
            dense.advance(gainjax.predictive_entropy(h))
            return h, None

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            axes = {"params": 0, "gain": 0}
            stack = nn.scan(Layer, variable_axes=axes, split_rngs={"params": True}, length=3)
            return stack()(nn.Dense(10)(x.reshape(len(x), -1)), None)[0]

    slow = SHORT | {"hyperparameters": {"learning_rate": 0.001}}
    curves, states = gainjax.run("split-digits", ["sgd"], model=Net(), snapshots=[12], **slow)
    assert curves.sizes["group"] == 3
    gain = jax.tree.leaves(states["sgd"].model_state)[0]
    assert gain.shape == (2, 1, 3, 10)
    recorded = curves.gains.sel(setting="sgd", update=13).sortby("group")  # the one after
    assert_allclose(recorded.transpose("seed", "group"), gain[:, 0, :, 0], rtol=1e-6)
    assert len(np.unique(gain)) > 3
