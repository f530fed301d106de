"""The contract of an Optax transformation, for everything in `CASES`: types, compilation, wrappers.

A new method of the registry is covered as soon as it is registered.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract_cases import (
    CASES,
    DTYPES,
    PROMOTING,
    QUICK,
    abstract,
    abstract_update,
    every_case,
    every_rule,
    extra,
    make,
    make_params,
    types,
)
from numpy.testing import assert_allclose

from gainjax.optim.states import find_gain_states

# --- Types ----------------------------------------------------------------------------------------


@every_case
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("x64")
def test_types_are_stable(name, dtype, request):
    if not any(word in name for word in PROMOTING):
        request.getfixturevalue("strict")
    optimizer = make(name)
    params = make_params(dtype)
    state = abstract(optimizer.init, params)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))

    def step(params, state, uncertainty):
        updates, state = optimizer.update(
            params, state, params, uncertainty=uncertainty, **extra(params)
        )
        return updates, state

    uncertainty = jnp.float32(0.5)
    updates, new_state = abstract(step, params, state, uncertainty)
    assert new_state == state
    assert updates == types(params)

    def loop(params, state):
        def body(carry, uncertainty):
            params, state = carry
            updates, state = jax.lax.cond(
                uncertainty > 1,
                step,
                lambda params, state, _: (jax.tree.map(jnp.zeros_like, params), state),
                params,
                state,
                uncertainty,
            )
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(body, (params, state), jnp.zeros(3, jnp.float32))[0]

    assert abstract(loop, params, state) == (types(params), state)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.fits_any_params])
def test_parameters_of_any_structure(name):
    optimizer = make(name)
    for params in (jnp.ones(()), jnp.ones((2, 3)), [jnp.ones(2), (jnp.ones(()), None)], {}):
        state = abstract(optimizer.init, params)
        assert abstract_update(optimizer, params, state) == (types(params), state)
    # In a partition and under a mask the tree has holes.
    params = make_params()
    labels = {"layer": {"kernel": "a", "bias": "b"}, "scalar": "b"}
    marks = jax.tree.map(lambda label: label == "a", labels)
    for partial in (
        optax.partition({"a": optimizer, "b": optax.sgd(0.1)}, labels),
        optax.masked(optimizer, marks),
    ):
        state = abstract(partial.init, params)
        assert abstract_update(partial, params, state) == (types(params), state)


@every_rule
def test_numpy_parameters_in_double_precision_are_those_in_single(name):
    optimizer, grads = make(name), make_params()

    def step(params):
        state = optimizer.init(params)
        return optimizer.update(grads, state, params, uncertainty=0.5, **extra(grads))

    loaded = jax.tree.map(lambda x: np.asarray(x, np.float64), grads)  # as from a file
    with jax.disable_jit():  # within jit they would be single already
        jax.tree.map(lambda x, y: assert_allclose(x, y, rtol=1e-5), step(loaded), step(grads))


# --- Compilation and memory -----------------------------------------------------------------------


@every_case
def test_steps_compile_once_accept_any_extra_argument_and_donate(name):
    optimizer = make(name)
    traces = 0

    @functools.partial(jax.jit, donate_argnums=(0, 1), compiler_options=QUICK)
    def step(params, state, uncertainty):
        nonlocal traces
        traces += 1
        updates, state = optimizer.update(
            params, state, params, uncertainty=uncertainty, **extra(params)
        )
        return optax.apply_updates(params, updates), state

    params = make_params()
    state = optimizer.init(params)
    for _ in range(3):
        old = params
        params, state = step(params, state, jnp.float32(0.5))
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(old))
    assert traces == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


# --- Inside other transformations -----------------------------------------------------------------


def inject(case):
    """The case with all its numbers in the state."""

    def factory(**hyperparameters):
        return case.make(hyperparameters)

    factory.__signature__ = inspect.Signature(
        [inspect.Parameter(p, inspect.Parameter.KEYWORD_ONLY) for p in case.hyperparameters]
    )
    return optax.inject_hyperparams(factory)(**case.hyperparameters)


def same_twice(optimizer):
    """Two mini-batches with the same gradients are one update."""
    multi_steps = optax.MultiSteps(optimizer, 2, accumulator_dtype=float)

    def update(updates, state, params=None, **extra):
        first, state = multi_steps.update(updates, state, params, **extra)
        second, state = multi_steps.update(updates, state, params, **extra)
        return jax.tree.map(jnp.add, first, second), state

    return optax.GradientTransformationExtraArgs(multi_steps.init, update)


WRAPPERS = {
    "chain": lambda case, tx: optax.chain(optax.identity(), optax.scale(1.0), tx),
    "masked": lambda case, tx: optax.masked(tx, lambda p: jax.tree.map(lambda _: True, p)),
    "partition": lambda case, tx: optax.partition(
        {"all": tx, "none": optax.set_to_zero()}, lambda p: jax.tree.map(lambda _: "all", p)
    ),
    "apply_if_finite": lambda case, tx: optax.apply_if_finite(tx, 2),
    "MultiSteps": lambda case, tx: same_twice(tx),
    "inject_hyperparams": lambda case, tx: inject(case),
}


@every_rule
@pytest.mark.usefixtures("x64")
def test_wrapped_updates_are_equal(name):
    case = CASES[name]
    optimizer = case.make(case.hyperparameters)

    def steps(tx):
        params, out = make_params(np.float64), []
        state = tx.init(params)
        for uncertainty in (2.0, 0.5):
            updates, state = tx.update(
                params, state, params, uncertainty=uncertainty, **extra(params)
            )
            params = optax.apply_updates(params, updates)
            out.append((params, [s.gain for s in find_gain_states(state)]))
        return out

    with jax.disable_jit():  # operation by operation: no compilation, and no reordering by one
        expected = steps(optimizer)
        for key, wrap in WRAPPERS.items():
            jax.tree.map(
                lambda x, y, key=key: assert_allclose(x, y, rtol=1e-12, err_msg=key),
                steps(wrap(case, optimizer)),
                expected,
            )
