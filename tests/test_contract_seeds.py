"""The contract, continued: a seed or a setting alone is the one in a batch."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
from contract_cases import CASES, QUICK, every_rule, extra, make_params
from numpy.testing import assert_allclose, assert_array_equal


def train(case, hyperparameters, key, updates):
    """Descend into a parabola whose place depends on the key."""
    optimizer = case.make(hyperparameters)
    target = make_params(jnp.result_type(float))
    target["layer"]["kernel"] = jax.random.normal(key, (8, 2))

    def body(carry, _):
        params, state = carry
        grads = optax.tree.sub(params, target)
        loss = optax.tree.norm(grads, squared=True) / 2
        updates, state = optimizer.update(
            grads, state, params, uncertainty=jnp.minimum(loss, 2.0), **extra(grads)
        )
        return (optax.apply_updates(params, updates), state), loss

    params = jax.tree.map(jnp.zeros_like, target)
    return jax.lax.scan(body, (params, optimizer.init(params)), length=updates)


KEYS = jax.random.split(jax.random.key(0), 2)


def settings(case):
    """Numbers that differ from run to run."""
    scales = jnp.array([1.0, 0.8])
    return {
        k: jnp.multiply.outer(scales, v) for k, v in case.hyperparameters.items() if v is not None
    }


def assert_each_run_equals(check, batch, alone):
    for i, run in enumerate(alone):
        jax.tree.map(lambda x, y, i=i: check(x, y[i]), run, batch)


@pytest.mark.slow
@every_rule
def test_a_seed_alone_is_the_seed_in_a_batch(name):
    case = CASES[name]
    # To the bit, since no compiler fuses the two programs differently; but the square root of a
    # scalar, in Adam, is rounded differently in a batch.
    close = functools.partial(assert_allclose, rtol=2e-6, atol=1e-7)
    check = close if "adam" in name else assert_array_equal
    with jax.disable_jit():
        run = functools.partial(train, case, case.hyperparameters, updates=2)
        assert_each_run_equals(check, jax.vmap(run)(KEYS), [run(key) for key in KEYS])


@pytest.mark.exhaustive  # test_training.py has it for whole runs
@every_rule
@pytest.mark.usefixtures("x64")
def test_a_setting_alone_is_the_setting_in_a_batch(name):
    case = CASES[name]
    grid = settings(case)
    alone = [{k: v[i] for k, v in grid.items()} for i in range(2)]
    with jax.disable_jit():
        run = functools.partial(train, case, key=KEYS[0], updates=2)
        batch = jax.vmap(run)(grid)
        check = functools.partial(assert_allclose, rtol=1e-9, atol=1e-12)
        assert_each_run_equals(check, batch, [run(setting) for setting in alone])


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith(", masked")])
def test_converges_on_a_parabola(name):
    case = CASES[name]
    run = jax.vmap(lambda setting, key: train(case, setting, key, 400))
    run = jax.jit(run, compiler_options=QUICK)
    (_, state), losses = run(settings(case), KEYS)
    assert (losses[:, -1] < 1e-2 * losses[:, 0]).all()
    assert_allclose(state.gain, state.baseline, atol=0.1)
