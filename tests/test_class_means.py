"""Class means of features, against transcriptions, and in runs on the digits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gainjax
from gainjax.methods import get_method
from gainjax.methods.class_means import read_by_nearest_mean
from gainjax.optim import class_means, losses

SHORT = {"updates_per_task": 12, "batch_size": 16, "eval_examples": 50, "threads": 1}


def close(a, b, rtol=1e-9):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


class Net:
    """Two layers, ReLU between them, in NumPy and in JAX."""

    def __init__(self, bias=False):
        rng = np.random.default_rng(0)
        self.params = {"in": rng.normal(size=(4, 16)), "out": {"kernel": rng.normal(size=(16, 5))}}
        if bias:
            self.params["out"]["bias"] = rng.normal(size=5)
        self.params = jax.tree.map(jnp.asarray, self.params)

    def batch(self, seed, targets):
        return np.random.default_rng(seed).normal(size=(len(targets), 4)), np.array(targets)

    def features(self, x):
        return np.maximum(x @ np.asarray(self.params["in"]), 0)

    def outputs(self, params, x):
        head = params["out"]
        return jax.nn.relu(x @ params["in"]) @ head["kernel"] + head.get("bias", 0.0)

    def loss_grad(self, x, y, params=None):
        of_each = optax.losses.softmax_cross_entropy_with_integer_labels
        return lambda loss: jax.grad(
            lambda p: loss(self.outputs(p, x), jnp.asarray(y), of_each)
        )(self.params if params is None else params)  # fmt: skip


def means(net, x, y):
    """Return the mean feature of each class, in NumPy."""
    found = np.zeros((16, 5))
    for label in set(y.tolist()):
        found[:, label] = net.features(x)[y == label].mean(0)
    return found


@pytest.mark.parametrize("bias", [False, True])
def test_class_means_are_those_of_the_features(x64, bias):
    net = Net(bias)
    x, y = net.batch(1, [0, 3, 3, 1, 0, 3])
    head = class_means.mark_head(None, net.params)
    assert head["out"]["kernel"]
    assert sum(jax.tree.leaves(head)) == 1
    found = class_means.class_means(net.loss_grad(x, y), head)
    close(found, means(net, x, y))
    assert (found[:, [2, 4]] == 0).all()


def test_new_outputs_begin_at_their_class_means(x64):
    net = Net()
    optimizer = class_means.initialized_by_means(optax.sgd(0.1), 0.5)
    x, y = net.batch(1, [0, 1, 2, 2, 1, 0])  # class 3 is new, too, but not in the batch
    gradient = jax.tree.map(jnp.ones_like, net.params)
    state = optimizer.init(net.params)

    def step(state, is_switch, seen):
        return optimizer.update(
            gradient, state, net.params, loss_grad=net.loss_grad(x, y),
            is_switch=is_switch, seen_classes=jnp.arange(4) < seen,
        )  # fmt: skip

    plain = jax.tree.map(lambda g: -0.1 * g, gradient)
    updates, state = step(state, False, 2)
    jax.tree.map(close, updates, plain)
    updates, after = step(state, True, 4)
    weights = np.asarray(net.params["out"]["kernel"])
    expected = weights - 0.1
    mean = means(net, x, y)[:, 2]
    usual = np.linalg.norm(weights[:, :2], axis=0).mean()
    expected[:, 2] = 0.5 * usual * mean / np.linalg.norm(mean)
    close(weights + updates["out"]["kernel"], expected)
    close(updates["in"], plain["in"])
    assert after.known.tolist() == [True] * 4 + [False]
    for is_switch, seen in ((False, 4), (True, 4)):  # none is new any more
        updates, after = step(after, is_switch, seen)
        jax.tree.map(close, updates, plain)
    # A switch that brings no class changes nothing.
    updates, _ = step(state, True, 2)
    jax.tree.map(close, updates, plain)


@pytest.mark.parametrize("bias", [False, True])
def test_a_network_is_read_by_moving_means(x64, bias):
    net = Net(bias)
    optimizer = class_means.read_by_means(optax.sgd(0.0), 0.7)
    state, expected = optimizer.init(net.params), np.zeros((16, 5))
    for seed, targets in enumerate([[0, 1, 1], [1, 2, 2], [0, 1, 3], [2, 2, 2]]):
        x, y = net.batch(seed, targets)
        _, state = optimizer.update(
            net.params, state, net.params, loss_grad=net.loss_grad(x, y), is_switch=seed == 2
        )
        now = means(net, x, y)
        for label in set(targets):
            old = expected[:, label]
            moved = 0.7 * old + 0.3 * now[:, label]
            expected[:, label] = moved if old.any() else now[:, label]
    close(state.means["out"]["kernel"], expected)
    read = class_means.get_nearest_mean(net.params, state)
    close(read["in"], net.params["in"])
    x, _ = net.batch(9, [0] * 50)
    norms = np.linalg.norm(expected[:, :4], axis=0)
    angles = net.features(x) @ (expected[:, :4] / norms)
    close(net.outputs(read, x)[:, :4], angles)
    assert (net.outputs(read, x)[:, 4] == 0).all()  # no example so far: never above the others


@pytest.mark.exhaustive
def test_a_run_read_by_means_trains_alike():
    numbers = {"hyperparameters": {"learning_rate": 0.02}}
    names = ["msgd", "msgd-ncm"]
    curves, states = gainjax.run("split-digits", names, 2, return_states=True, **numbers, **SHORT)
    np.testing.assert_array_equal(curves.train_loss[0], curves.train_loss[1])
    jax.tree.map(np.testing.assert_array_equal, *(states[name].params for name in names))
    assert (curves.accuracy[0] != curves.accuracy[1]).any()
    stream = gainjax.get_benchmark("split-digits").load(eval_examples=50)
    images = stream.test_inputs[0].reshape(50, -1)
    layers = [np.asarray(leaf[0]) for leaf in jax.tree.leaves(states["msgd-ncm"].params)]
    hidden = np.maximum(np.maximum(images @ layers[0], 0) @ layers[1], 0)
    (mean,) = (np.asarray(leaf[0]) for leaf in jax.tree.leaves(states["msgd-ncm"].opt_state.means))
    nearest = (hidden @ (mean / np.linalg.norm(mean, axis=0))).argmax(1)
    found = (nearest == stream.test_targets[0]).mean()
    last = curves.accuracy.isel(setting=1, seed=0, eval_update=-1).values
    assert np.ravel(last)[0] == pytest.approx(found, abs=1e-6)


@pytest.mark.exhaustive
def test_without_new_classes_nothing_begins_anew():
    rate = {"hyperparameters": {"learning_rate": 0.02}}
    names = ["msgd", "class-mean-init"]
    same = gainjax.run("permuted-digits", names, 1, **rate, **SHORT)
    np.testing.assert_allclose(same.train_loss[0], same.train_loss[1], rtol=1e-4)
    other = gainjax.run("split-digits", names, 1, **rate, **SHORT)
    losses = other.train_loss.values[:, 0]
    np.testing.assert_allclose(*losses[:, :13], rtol=1e-4)  # the first switch moves what follows
    assert (np.abs(losses[0] - losses[1])[13:20] > 1e-4).all()


def test_what_has_no_class_means_is_refused():
    with pytest.raises(ValueError, match="class means need a head"):
        class_means.mark_head(None, {"kernel": jnp.ones((3, 3, 2, 4))})
    net = Net()
    x, y = net.batch(0, [0, 1])
    wrong = class_means.mark_head({"in": True, "out": False}, net.params)
    with pytest.raises(ValueError, match=r"of shape \(4, 16\), must be the head that.* 5 outputs"):
        class_means.class_means(net.loss_grad(x, y), wrong)
    head = class_means.mark_head(None, net.params)
    with pytest.raises(ValueError, match="need class targets"):
        class_means.class_means(net.loss_grad(x, y.astype(np.float32)), head)
    optimizer = class_means.initialized_by_means(optax.sgd(0.1), 1.0)
    with pytest.raises(ValueError, match="an output for each class"):
        optimizer.update(
            net.params, optimizer.init(net.params), net.params, is_switch=True,
            loss_grad=net.loss_grad(x, y), seen_classes=jnp.ones(9, bool),
        )  # fmt: skip
    unseen = losses.without_unseen(optax.sgd(0.1))
    with pytest.raises(ValueError, match="an output for each class: got 5 outputs for 9"):
        unseen.update(
            net.params, unseen.init(net.params), net.params, loss_grad=net.loss_grad(x, y),
            seen_classes=jnp.ones(9, bool),
        )  # fmt: skip
    with pytest.raises(ValueError, match="schedule-free is not"):
        read_by_nearest_mean(get_method("schedule-free"))


@pytest.mark.parametrize(
    "shapes",
    [
        {"head": (16, 5), "hidden": (4, 5)},  # in alphabetical order, as NNX has them
        {"hidden": (4, 16), "out": (5, 5)},  # or transposed, as Equinox has it
    ],
)
def test_a_head_that_cannot_be_told_is_refused(shapes):
    params = {name: {"kernel": jnp.ones(shape)} for name, shape in shapes.items()}
    for make in (class_means.read_by_means, class_means.initialized_by_means):
        with pytest.raises(ValueError, match=r"can be told apart from other kernels.*mask"):
            make(optax.sgd(0.1), 0.9).init(params)


def test_the_bias_of_a_head_that_is_not_nested_is_left_out_too():
    params = {"b": jnp.arange(3.0), "b_in": jnp.ones(4), "w": jnp.ones((4, 3))}
    state = class_means.ReadByMeansState(
        {"b": optax.MaskedNode(), "b_in": optax.MaskedNode(), "w": 2 * jnp.ones((4, 3))}, ()
    )
    read = class_means.get_nearest_mean(params, state)
    assert (read["b"] == 0).all()
    assert (read["b_in"] == 1).all()
    close(read["w"], np.full((4, 3), 0.5), 1e-6)
