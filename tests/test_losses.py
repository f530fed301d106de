"""Other losses and flat minima, against transcriptions of their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from linear_batch import Batch, gradient

import gainjax
from gainjax.optim import flatness, losses
from gainjax.training.program import INIT, seed_key

SHORT = {"updates_per_task": 12, "batch_size": 16, "eval_examples": 50, "threads": 1}


def run(methods, seeds=2, benchmark="split-digits", **options):
    return gainjax.run(benchmark, methods, seeds, **SHORT | options)


def _model():
    bench = gainjax.get_benchmark("split-digits")
    return bench.model_for(bench.load(eval_examples=1))


def close(a, b, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


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
    # The first task has no old one.
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


def test_networks_may_have_more_outputs_than_there_are_classes(x64):
    batch = Batch()
    updates, _ = batch.step(
        losses.without_unseen(optax.sgd(1.0)), seen_classes=jnp.array([True, True, True])
    )
    seen = np.array([True, True, True, False, False])
    close(-updates, gradient(batch, np.ones(6), seen), rtol=1e-9)


# --- flat minima ---


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
