"""What the methods of the league do, against transcriptions and exact equivalences."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from interruptions import crash, numbers

import gainjax
from gainjax.methods import METHODS, get_method
from gainjax.methods.averages import averaged
from gainjax.methods.class_means import read_by_nearest_mean
from gainjax.models import MLP, from_functions, from_linen
from gainjax.optim import clipping, flatness, losses, warmup
from gainjax.optim.averaging import averaged_weights
from gainjax.optim.layerwise import layerwise_proximal
from gainjax.training.program import INIT, seed_key

SHORT = {"updates_per_task": 12, "batch_size": 16, "eval_examples": 50, "threads": 1}


def run(methods, seeds=2, benchmark="split-digits", **options):
    return gainjax.run(benchmark, methods, seeds, **SHORT | options)


def _model():
    bench = gainjax.get_benchmark("split-digits")
    return bench.model_for(bench.load(eval_examples=1))


def close(a, b, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


# --- level only ---


@pytest.mark.exhaustive
def test_a_fixed_gain_is_a_softmax_temperature():
    # Three layers without biases, ReLU between them: the outputs are the gain cubed times theirs.
    curves = gainjax.concat(
        [
            run(["fixed-gain"], hyperparameters={"level": 1.5}),
            run(["temperature"], hyperparameters={"level": 1.5**3}),
        ],
        "setting",
    )
    np.testing.assert_array_equal(
        curves.accuracy.sel(setting="fixed-gain"), curves.accuracy.sel(setting="temperature")
    )
    # The loss of the first is that of the outputs times the cube; both steps follow it.
    assert (curves.train_loss[0] != curves.train_loss[1]).any()


@pytest.mark.exhaustive
def test_a_fixed_gain_is_larger_initial_weights_and_larger_steps():
    options = {"fixed-gain": {"learning_rate": 0.01}, "larger-init": {"learning_rate": 0.04}}
    curves = run(["fixed-gain", "larger-init"], hyperparameters=options)
    close(curves.train_loss[0], curves.train_loss[1], rtol=1e-3)
    np.testing.assert_array_equal(curves.accuracy[0], curves.accuracy[1])


def test_a_ramped_gain_arrives_at_its_level():
    curves = run(["ramped-gain"], hyperparameters={"level": 3.0, "decay": 0.5})
    expected = 3 - 2 * 0.5 ** np.arange(60)
    close(curves.gain[0, 0], expected)


# --- averages ---


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["sgd", "ngm-sgd", "adam"])
def test_an_averaged_method_trains_alike_and_is_evaluated_at_the_average(name):
    rate = {"learning_rate": 0.01}
    plain, states = run([name], hyperparameters=rate, return_states=True)
    mean, found = run(
        [f"{name}-ema"], hyperparameters=rate | {"average_decay": 0.0}, return_states=True
    )
    np.testing.assert_array_equal(plain.train_loss, mean.train_loss)
    np.testing.assert_array_equal(plain.accuracy, mean.accuracy)  # without memory, the weights
    jax.tree.map(np.testing.assert_array_equal, states[name].params, found[f"{name}-ema"].params)
    lagging = run([f"{name}-ema"], hyperparameters=rate | {"average_decay": 0.9})
    np.testing.assert_array_equal(plain.train_loss, lagging.train_loss)
    assert (plain.accuracy.values != lagging.accuracy.values).any()


def test_the_average_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(20, 3))
    optimizer = averaged_weights(optax.sgd(0.1), 0.8)
    params, mean = np.ones(3), np.ones(3)
    state = optimizer.init(jnp.ones(3))
    theirs = jnp.ones(3)
    for gradient in gradients:
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, theirs)
        theirs = optax.apply_updates(theirs, updates)
        params = params - 0.1 * gradient
        mean = 0.8 * mean + 0.2 * params
    close(state.average, mean)


@pytest.mark.exhaustive
def test_slow_weights_are_averaged_without_their_gain():
    # In a network without biases a gain changes no answer, but the average weighs bursts more.
    options = {"hyperparameters": {"sensitivity": 1.0, "average_decay": 0.9}}
    curves, states = run(["ngm-sgd-ema", "ngm-sgd-slow-ema"], return_states=True, **options)
    np.testing.assert_array_equal(curves.train_loss[0], curves.train_loss[1])
    fast, slow = (jax.tree.leaves(states[m].opt_state.average)[0] for m in states)
    assert np.linalg.norm(fast) > 1.2 * np.linalg.norm(slow)


@pytest.mark.exhaustive
def test_an_averaged_network_has_batch_statistics_of_its_own(tmp_path):
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.Dense(16)(x.reshape(len(x), -1))
            x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
            return nn.Dense(10)(nn.relu(x))

    model = gainjax.models.from_linen(Net())
    rate = {"hyperparameters": {"learning_rate": 0.2, "average_decay": 0.95}, "batch_size": 256}
    curves, states = run(["sgd-ema", "sgd"], seeds=1, model=model, return_states=True, **rate)
    state = jax.tree.map(lambda x: x[0], states["sgd-ema"])
    ours, theirs = (s["batch_stats"]["BatchNorm_0"] for s in (state.eval_state, state.model_state))
    # The trained network is where SGD is; the averaged one is elsewhere, and so are its statistics.
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b[0]),
        state.params, states["sgd"].params,
    )  # fmt: skip
    assert (np.abs(ours["mean"] - theirs["mean"]) > 1e-3).any()
    stream = gainjax.get_benchmark("split-digits").load(eval_examples=50)
    inputs = gainjax.data.normalize(stream, stream.train_inputs)
    hidden = inputs.reshape(len(inputs), -1) @ state.opt_state.average["Dense_0"]["kernel"]
    hidden += state.opt_state.average["Dense_0"]["bias"]
    # They are those of its own hidden units, up to the noise of a running mean of small batches.
    error = np.abs(ours["mean"] - hidden.mean(0)).mean()
    assert error < 0.5 * np.abs(theirs["mean"] - hidden.mean(0)).mean()
    # And they survive a crash.
    options = {"model": model, "chunk": 5, **SHORT | rate}
    crash(20, "split-digits", ["sgd-ema", "sgd"], 1, out=tmp_path, **options)
    resumed = gainjax.run("split-digits", ["sgd-ema", "sgd"], 1, out=tmp_path, **options)
    assert numbers(resumed).identical(numbers(curves))


def test_what_cannot_be_averaged_is_refused():
    for make in (averaged, read_by_nearest_mean):
        with pytest.raises(TypeError, match=r"method must be a gainjax.Method.*got 'sgd'"):
            make("sgd")
    with pytest.raises(TypeError, match=r"average_decay of sgd-ema must be one number: got a sch"):
        run(["sgd-ema"], hyperparameters={"average_decay": lambda count: 0.5})
    with pytest.raises(ValueError, match="schedule-free is not"):
        averaged(get_method("schedule-free"))
    with pytest.raises(ValueError, match="sgd has none"):
        averaged(get_method("sgd"), of="slow")
    with pytest.raises(ValueError, match="of must be one of"):
        averaged(get_method("ngm-sgd"), of="raw")
    with pytest.raises(ValueError, match="use form='optimizer'"):
        run(["ngm-sgd-ema"], form="model")


# --- other losses ---


@pytest.mark.exhaustive
def test_outputs_never_seen_are_not_trained_until_their_class_comes():
    # Nothing of later tasks is seen where task 1 goes on.
    where = {"seeds": 1, "regime": "no-switch", "return_states": True}
    _, states = run(["unseen-masked", "msgd"], **where)
    _, joint = run(["unseen-masked"], seeds=1, return_states=True)
    heads = [jax.tree.leaves(s.params)[-1][0] for s in (*states.values(), *joint.values())]
    assert heads[0].shape == (200, 10)
    begun, _ = _model().init(seed_key(0, INIT), jnp.zeros((1, 8, 8, 1)))
    masked, plain, seen = (np.abs(h - jax.tree.leaves(begun)[-1]).max(axis=0) for h in heads)
    assert (masked[2:] < 1e-6).all()
    assert (plain[2:] > 1e-4).all()  # task 1 pushes them down
    assert (seen > 1e-4).all()


class Batch:
    """A linear model and a batch, with the extra arguments that the training step offers."""

    def __init__(self, seed=0, new=(True, True, False, False, False, False)):
        rng = np.random.default_rng(seed)
        self.x, self.y = rng.normal(size=(6, 4)), np.array([2, 2, 0, 1, 0, 1])
        self.params = jnp.asarray(rng.normal(size=(4, 5)))
        self.is_new = jnp.array(new)

    def of_each(self, outputs, targets):
        return optax.losses.softmax_cross_entropy_with_integer_labels(outputs, targets)

    def loss(self, params):
        return self.of_each(self.x @ params, self.y).mean()

    def loss_grad(self, loss):
        return jax.grad(lambda p: loss(self.x @ p, jnp.asarray(self.y), self.of_each))(self.params)

    def step(self, optimizer, state=None, **extra):
        state = optimizer.init(self.params) if state is None else state
        return optimizer.update(
            jax.grad(self.loss)(self.params), state, self.params,
            loss_grad=self.loss_grad, is_new=self.is_new,
            grad_fn=lambda p, i: jax.grad(self.loss)(p),
            **extra,
        )  # fmt: skip


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def gradient(batch, weights, seen=None, level=1.0):
    """Return the gradient of a weighted cross-entropy, in NumPy."""
    logits = level * batch.x @ np.asarray(batch.params)
    if seen is not None:
        logits = np.where(seen, logits, -np.inf)
    wrong = np.exp(log_softmax(logits)) - np.eye(5)[batch.y]
    return level * batch.x.T @ (np.asarray(weights)[:, None] * wrong) / 6


def test_losses_are_those_of_a_transcription(x64):
    batch, sgd = Batch(), optax.sgd(1.0)
    updates, _ = batch.step(losses.at_temperature(sgd, 3.0))
    close(-updates, gradient(batch, np.ones(6), level=3.0), rtol=1e-9)
    seen = np.array([True, True, True, False, False])
    updates, _ = batch.step(losses.without_unseen(sgd), seen_classes=jnp.asarray(seen))
    close(-updates, gradient(batch, np.ones(6), seen), rtol=1e-9)
    assert (updates[:, 3:] == 0).all()


def test_the_new_share_of_a_smoothed_loss_grows(x64):
    batch, optimizer, state = Batch(), losses.smoothed(optax.sgd(1.0), 4), None
    new = np.asarray(batch.is_new)
    for since, share in enumerate([0, 1 / 12, 2 / 12, 3 / 12, 1 / 3, 1 / 3]):  # of the third task
        updates, state = batch.step(optimizer, state, is_switch=since == 0, task=2)
        weights = np.where(new, 3 * share, (1 - share) / (2 / 3))
        close(-updates, gradient(batch, weights), rtol=1e-9)
    updates, _ = batch.step(optimizer, is_switch=False, task=0)  # the first task has no old one
    old = Batch(new=[True] * 6)
    updates, _ = old.step(optimizer, is_switch=False, task=0)
    close(-updates, gradient(old, np.ones(6)), rtol=1e-9)


def test_a_projected_gradient_does_not_raise_the_old_loss(x64):
    for seed in range(20):
        batch = Batch(seed)
        whole = gradient(batch, np.ones(6))
        old = gradient(batch, np.where(batch.is_new, 0.0, 6 / 4))
        updates, _ = batch.step(losses.projected(optax.sgd(1.0)))
        inner = (whole * old).sum()
        expected = whole - min(inner, 0) / (old**2).sum() * old
        close(-updates, expected, rtol=1e-9)
        assert (-np.asarray(updates) * old).sum() > -1e-12


@pytest.mark.exhaustive
def test_other_losses_follow_the_goal_of_the_benchmark():
    # A regression: no classes, and a loss of its own.
    x = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    y = x @ np.arange(5, dtype=np.float32)
    stream = gainjax.data.domain_incremental([(x, y, x, y), (-x, y, -x, y)])
    bench = gainjax.Benchmark(
        "line", stream=stream, updates_per_task=20, batch_size=16,
        loss=lambda o, t: (o[:, 0] - t) ** 2, score=lambda o, t: -((o[:, 0] - t) ** 2),
    )  # fmt: skip
    curves = gainjax.run(bench, ["msgd", "loss-smoothing", "a-gem"], threads=1)
    assert (curves.diverged_update == 0).all()
    np.testing.assert_array_equal(curves.train_loss[0, :, :20], curves.train_loss[2, :, :20])
    assert (curves.train_loss[0, :, 25:] != curves.train_loss[1, :, 25:]).any()


# --- clips ---


def test_a_clip_by_the_running_norm_follows_each_layer(x64):
    rng = np.random.default_rng(0)
    clip = clipping.clip_by_running_norm(1.2, 0.9)
    state = clip.init({"a": jnp.zeros(3), "b": jnp.zeros(2)})
    usual = {}
    for _ in range(30):
        grads = {k: rng.normal(size=n) * rng.lognormal() for k, n in (("a", 3), ("b", 2))}
        found, state = clip.update(jax.tree.map(jnp.asarray, grads), state)
        for name, g in grads.items():
            norm = np.linalg.norm(g)
            before = usual.get(name, norm)
            expected = g * min(1, 1.2 * before / norm)
            close(found[name], expected)
            usual[name] = 0.9 * before + 0.1 * np.linalg.norm(expected)


def test_a_clip_by_the_score_shortens_outliers_only(x64):
    rng = np.random.default_rng(0)
    clip = clipping.clip_by_z_score(2.0, 0.9, warmup=10)
    state = clip.init(jnp.zeros(4))
    kept = []
    for i in range(60):
        g = rng.normal(size=4) * (10 if i % 17 == 16 else 1)
        found, state = clip.update(jnp.asarray(g), state)
        norm, expected = np.linalg.norm(g), g
        if i == 10:
            mean, variance = np.mean(kept), np.var(kept)
        if i >= 10:
            score = (norm - mean) / variance**0.5
            if score > 2:
                expected = g / norm * (mean + 4 / score * variance**0.5)
        kept.append(np.linalg.norm(expected))
        if i >= 10:
            away = kept[-1] - mean
            mean, variance = mean + 0.1 * away, 0.9 * (variance + 0.1 * away**2)
        close(found, expected, rtol=1e-4)


# --- warm-ups, flat minima ---


def test_warmups_begin_again():
    at = {"is_switch": [True, False, False, True, False], "value": [1.0, 1.1, 5.0, 1.0, 1.0]}
    made = {
        "is_switch": (warmup.warmup_at_switches, [0.5, 1, 1, 0.5, 1]),
        "value": (warmup.warmup_at_surprise, [1, 1, 0.5, 1, 1]),
    }
    for name, (make, expected) in made.items():
        optimizer = make(optax.sgd(1.0), 2)
        state = optimizer.init(jnp.zeros(1))
        for value, scale in zip(at[name], expected, strict=True):
            updates, state = optimizer.update(jnp.ones(1), state, jnp.zeros(1), **{name: value})
            close(updates, -scale)


def test_flat_minima_are_sought_by_the_gradients_of_their_equations(x64):
    batch, sgd = Batch(), optax.sgd(1.0)
    grad = jax.grad(batch.loss)
    p, g = batch.params, grad(batch.params)

    def along(place, direction):
        return place + 0.1 * direction / jnp.linalg.norm(direction)

    sharp = grad(along(p, g))
    close(-batch.step(flatness.sharpness_aware(sgd, 0.1))[0], sharp, rtol=1e-9)
    steep = along(p, sharp - g)
    around = grad(along(steep, grad(steep))) - grad(steep)
    found = batch.step(flatness.curvature_flat(sgd, 0.1, 0.5))[0]
    close(-found, sharp + 0.5 * around, rtol=1e-9)
    # A search of one step, or with a tiny rate, is plain SGD.
    close(-batch.step(flatness.local_entropy(sgd, 0.1, 0.3, steps=1))[0], g, rtol=1e-9)
    close(-batch.step(flatness.local_entropy(sgd, 1e-7, 0.3, steps=4))[0], g, rtol=1e-4)
    place, mean = p, p
    for _ in range(3):
        place = place - 0.2 * (grad(place) - 0.3 * (p - place))
        mean = 0.75 * mean + 0.25 * place
    straight = 0.25 * (0.75**2 + 2 * 0.75 + 3)
    found = batch.step(flatness.local_entropy(sgd, 0.2, 0.3, steps=3))[0]
    close(-found, (p - mean) / (0.2 * straight), rtol=1e-9)


def test_every_method_says_what_it_is_and_where_it_comes_from():
    for method in METHODS.values():
        assert method.summary
        assert len(method.summary) < 90
        assert method.source != "not stated", method.name
        assert ("oracle" in method.summary) == method.needs_boundary, method.name


def test_networks_may_have_more_outputs_than_there_are_classes(x64):
    batch = Batch()
    updates, _ = batch.step(
        losses.without_unseen(optax.sgd(1.0)), seen_classes=jnp.array([True, True, True])
    )
    seen = np.array([True, True, True, False, False])
    close(-updates, gradient(batch, np.ones(6), seen), rtol=1e-9)


def test_an_optimizer_without_what_it_needs_says_so():
    batch = Batch()
    state = optax.sgd(1.0).init(batch.params)
    for optimizer, name in (
        (flatness.sharpness_aware(optax.sgd(1.0), 0.1), "grad_fn"),
        (losses.projected(optax.sgd(1.0)), "loss_grad"),
        (losses.at_temperature(optax.sgd(1.0), 2.0), "loss_grad"),
    ):
        with pytest.raises(TypeError, match=f"needs the keyword `{name}`"):
            optimizer.update(batch.params, state, batch.params)


@pytest.mark.exhaustive
def test_layers_hold_their_outputs_on_earlier_tasks(x64):
    """A step of SGD is the minimum of linear loss, distance and change of old outputs."""
    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=(4, 3)), "b": rng.normal(size=3), "c": rng.normal(size=(3, 2))}
    grads = {name: rng.normal(size=p.shape) for name, p in params.items()}
    inputs = [{"a": rng.normal(size=(6, 4)), "c": rng.normal(size=(6, 3))} for _ in range(2)]
    new = jnp.array([True, True, False, False, False, True])
    rate, strength, decay = 0.1, 3.0, 0.8
    optimizer = layerwise_proximal(optax.sgd(rate), strength, decay)
    state = optimizer.init(params)

    def step(state, x, is_new):
        return optimizer.update(
            grads, state, params, is_new=is_new,
            layer_inputs=lambda: {**x, "b": optax.MaskedNode()},
        )  # fmt: skip

    updates, state = step(state, inputs[0], jnp.ones(6, bool))  # task 1: that of SGD
    chex.assert_trees_all_close(updates, jax.tree.map(lambda g: -rate * g, grads), rtol=1e-12)
    moments = {"a": 0, "c": 0}
    for x in inputs:
        updates, state = step(state, x, new)
        for name, (size, _) in {"a": (4, 3), "c": (3, 2)}.items():
            old = x[name][~np.asarray(new)]
            moments[name] = decay * moments[name] + (1 - decay) * old.T @ old / len(old)
            relative = moments[name] / (np.trace(moments[name]) / size)
            # u minimizes <g, u> + (|u|^2 + omega <u, A u>) / (2 rate), so that there:
            close(grads[name] + (updates[name] + strength * relative @ updates[name]) / rate, 0)
    close(updates["b"], -rate * grads["b"])
    with pytest.raises(TypeError, match="layer_inputs must be a function"):
        optimizer.update(grads, state, params, is_new=new, layer_inputs=None)


def test_inputs_of_dense_layers_are_what_their_kernels_multiply():
    model = from_linen(MLP((5, 4, 3), (0.5, 0.5, 0.5), use_bias=True))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2, 4)), jnp.float32)
    params, state = model.init(jax.random.key(0), x)
    inputs = model.layer_inputs(params, state, x)
    hidden = x.reshape(6, 8)
    for i in range(3):
        layer = params[f"layer_{i}"]
        np.testing.assert_array_equal(inputs[f"layer_{i}"]["kernel"], hidden)
        hidden = jax.nn.relu(hidden @ layer["kernel"] + layer["bias"])
        assert isinstance(inputs[f"layer_{i}"]["bias"], optax.MaskedNode)
    assert from_functions(lambda key, x: ({}, {}), model.apply).layer_inputs is None


def test_a_layer_without_one_input_is_left_out_and_a_network_of_them_is_refused():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(4, use_bias=False)
            return layer(layer(x))

    model, x = from_linen(Twice()), jnp.ones((2, 4))
    params, state = model.init(jax.random.key(0), x)
    inputs = model.layer_inputs(params, state, x)
    assert isinstance(inputs["Dense_0"]["kernel"], optax.MaskedNode)
    optimizer = layerwise_proximal(optax.sgd(0.1), 1.0)
    with pytest.raises(ValueError, match="inputs of at least one kernel that the mask marks"):
        optimizer.update(
            params, optimizer.init(params), params,
            layer_inputs=lambda: inputs, is_new=jnp.array([True, False]),
        )  # fmt: skip


def test_a_method_in_a_file_is_the_same_object_each_time(tmp_path):
    """Compiled programs are cached by it."""
    path = tmp_path / "mine.py"
    path.write_text("import optax\ndef mine(learning_rate=0.1): return optax.sgd(learning_rate)\n")
    first = gainjax.methods.as_method(f"{path}:mine")
    assert gainjax.methods.as_method(f"{path}:mine") is first
    assert first.reference == f"{path}:mine"
    path.write_text("import optax\ndef mine(learning_rate=0.2): return optax.sgd(learning_rate)\n")
    assert gainjax.methods.as_method(f"{path}:mine").hyperparameters == {"learning_rate": 0.2}
