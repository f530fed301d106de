"""Features and the linear head, found in any network or given by its users."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gainjax
from gainjax import analysis

pytestmark = pytest.mark.exhaustive

AT = [20, 21, 24, 30]


def small(name):
    return gainjax.get_benchmark(name).replace(updates_per_task=20)


def test_the_head_is_found_behind_a_layer_that_looks_like_one():
    # As many inputs as outputs: by its shape the first kernel is a transposed head, and its name
    # comes last.
    def init(key, x):
        keys = jax.random.split(key)
        one, two = jax.random.normal(keys[0], (10, 7)), jax.random.normal(keys[1], (7, 10))
        return {"z_hidden": one, "head": two}, {}

    def hidden(params, x):
        return jnp.maximum(x @ params["z_hidden"], 0)

    x = np.random.default_rng(0).normal(size=(40, 10))
    y = np.arange(40) // 4
    stream = gainjax.data.class_incremental(x, y, x, y, tasks=[range(5), range(5, 10)])
    for end in (lambda outputs: outputs, jnp.tanh):
        model = gainjax.models.from_functions(
            init,
            lambda params, state, x, *, train, key, end=end: (
                end(hidden(params, x) @ params["head"]),
                state,
            ),
        )
        bench = gainjax.Benchmark("b", stream=stream, model=model, updates_per_task=5, batch_size=8)
        subject = analysis.Subject(bench)
        if end is jnp.tanh:
            with pytest.raises(ValueError, match="no linear head"):
                analysis.head_features(subject)
            continue
        params, state = model.init(jax.random.key(3), x[:1])
        found = analysis.head_features(subject)(params, state, jnp.asarray(x, jnp.float32))
        np.testing.assert_allclose(found, hidden(params, x), rtol=1e-4, atol=1e-5)


def test_a_network_without_a_linear_head_needs_features_of_the_users():
    def init(key, x):
        return {"scale": jnp.ones(()), "shift": jnp.zeros(10)}, {}

    def apply(params, state, x, *, train, key):
        return params["scale"] * x.reshape(len(x), -1)[:, :10] + params["shift"], state

    bench = small("split-digits").replace(model=gainjax.models.from_functions(init, apply))
    subject = analysis.Subject(bench)
    with pytest.raises(ValueError, match="no linear head with 10 outputs"):
        analysis.head_features(subject)
    _, states = gainjax.run(bench, ["sgd"], 1, snapshots=AT)
    parts = analysis.drop_parts(
        subject, states, AT, features=lambda params, state, x: x.reshape(len(x), -1)
    )
    assert (parts["features"] == 0).all()  # they do not depend on the weights
    assert "seed" not in parts.coords  # states do not tell their seeds
