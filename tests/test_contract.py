"""The contract of an Optax transformation, for everything in `CASES`.

A new method of the registry is covered as soon as it is registered.
"""

import functools
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike
from numpy.testing import assert_allclose, assert_array_equal

from gainjax.methods import METHODS, TRACE
from gainjax.optim.modulation import gain_modulation, ngm_sgd
from gainjax.optim.states import find_gain_states

DTYPES = ("float16", "bfloat16", "float32", "float64")
MASK = {"layer": {"kernel": True, "bias": False}, "scalar": True}
QUICK = {"xla_backend_optimization_level": 0}  # most of the time would be compilation
GAIN = {"decay": 0.9, "baseline": 1.0, "sensitivity": 0.2}


def inputs_of(param):
    """Return the inputs of a layer for a batch of two, in place of its kernel."""
    two_axes = jnp.ndim(param) == 2
    return jnp.ones((2, len(param)), param.dtype) if two_axes else optax.MaskedNode()


# Whatever some method of the registry needs; all others must not mind.
def extra(params):
    """Return extra arguments; the gradients of other losses are the parameters, too."""
    return {
        "value": 1.0,
        "grad": params,
        "is_switch": False,
        "task": 1,
        "is_new": jnp.array([True, False]),
        "seen_classes": jnp.array([True, False]),
        "grad_fn": lambda params, i: params,
        "loss_grad": lambda loss: params,
        "layer_inputs": lambda: jax.tree.map(inputs_of, params),
        "unknown": "yes",
    }


# Optax's own code of these, or JAX's linear solver in the last, cannot do explicit sharding.
_NOT_SHARDED = ("method agc", "method momo", "method muon", "method layerwise-proximal")


# Optax's own code of these computes with the parameters at `init`, or counts in each of its parts.
_NEED_ARRAYS = ("method momo", "method schedule-free")
_COUNTED_TWICE = ("method muon",)


class Case(NamedTuple):
    """An optimizer as a function of its numbers, which may be traced."""

    make: Callable[[Mapping[str, Any]], optax.GradientTransformationExtraArgs]
    hyperparameters: Mapping[str, ArrayLike]
    fits_any_params: bool = True  # else the mask fixes their structure


BASES = {
    "sgd": (optax.sgd, 0.05),
    "momentum": (functools.partial(optax.sgd, momentum=0.8), 0.02),
    "nesterov": (functools.partial(optax.sgd, momentum=0.8, nesterov=True), 0.02),
    "adam": (optax.adam, 0.05),
    "adamw": (optax.adamw, 0.05),
    "rmsprop": (optax.rmsprop, 0.02),
    "adagrad": (optax.adagrad, 0.3),
    "clipped adam": (
        lambda rate: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate)),
        0.05,
    ),
}


def _modulated(base, rate, mask):
    def make(hp):
        return gain_modulation(
            base(hp["rate"]), hp["decay"], hp["baseline"], hp["sensitivity"], mask=mask
        )

    return Case(make, GAIN | {"rate": rate}, mask is True)


def _ngm_sgd(mask):
    def make(hp):
        return ngm_sgd(hp["rate"], hp["decay"], hp["baseline"], hp["sensitivity"], mask=mask)

    return Case(make, GAIN | {"rate": 0.05}, mask is True)


CASES: dict[str, Case] = {}
for _suffix, _mask in (("", True), (", masked", MASK)):
    for _name, (_base, _rate) in BASES.items():
        CASES[f"gain over {_name}{_suffix}"] = _modulated(_base, _rate, _mask)
    CASES[f"ngm_sgd{_suffix}"] = _ngm_sgd(_mask)
# Optax tests these itself.
_PLAIN = {"sgd", "msgd", "nesterov", "rmsprop", "adagrad", "adam", "adamw"}
for _name, _method in METHODS.items():
    if _name in _PLAIN:
        continue
    _numbers = dict(_method.hyperparameters)
    if _method.borrows_gain:
        _numbers[TRACE] = np.linspace(1, 1.3, 5)
    CASES[f"method {_name}"] = Case(
        functools.partial(_method.optimizer, mask=MASK), _numbers, fits_any_params=False
    )


def make(name):
    case = CASES[name]
    return case.make(case.hyperparameters)


def make_params(dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "layer": {
            "kernel": jnp.asarray(rng.normal(size=(8, 2)), dtype),
            "bias": jnp.asarray(rng.normal(size=2), dtype),
        },
        "scalar": jnp.asarray(rng.normal(), dtype),
    }


def types(tree):
    """Shape, dtype and weakness of each leaf, and the structure."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type), tree
    )


def abstract(function, *args):
    """Evaluate shapes and dtypes only: nothing is compiled."""
    return types(jax.eval_shape(function, *args))


def abstract_update(optimizer, params, state):
    return abstract(
        lambda p, s: optimizer.update(p, s, p, uncertainty=0.5, **extra(p)), params, state
    )


every_case = pytest.mark.parametrize("name", CASES)
# Where numbers are compared, the mask leaves some parameters modulated and some not.
every_rule = pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if not case.fits_any_params]
)


# --- Types ----------------------------------------------------------------------------------------


@every_case
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("x64")
def test_types_are_stable(name, dtype):
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


# --- Parameter-shaped state -----------------------------------------------------------------------


@every_case
def test_init_of_abstract_parameters(name):
    optimizer, params = make(name), make_params()
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    real = abstract(optimizer.init, params)
    assert abstract(lambda p: optimizer.init(p), shapes) == real
    if name in _NEED_ARRAYS:
        return
    found = jax.tree.map(jnp.shape, optimizer.init(shapes))  # shapes themselves, too
    assert found == jax.tree.map(lambda x: x.shape, real)


@pytest.mark.exhaustive
@every_case
def test_what_states_are_called_is_not_ambiguous(name):
    optimizer, params = make(name), make_params()
    state = optimizer.init(params)
    gains = [value for _, value in optax.tree.get_all_with_path(state, "gain")]
    if len(gains) != 1:
        return
    assert optax.tree.get(state, "gain") == gains[0]
    changed = optax.tree.set(state, gain=jnp.full_like(gains[0], 1.5))
    assert optax.tree.get(changed, "gain") == 1.5
    # Weights and gain do not come apart: what the weights carry is known besides.
    updates, after = optimizer.update(params, changed, params, uncertainty=0.5, **extra(params))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(updates))
    assert optax.tree.get(after, "gain") == optax.tree.get(after, "carried")


@every_case
def test_updates_are_counted_under_one_name_at_most_once(name):
    counts = optax.tree.get_all_with_path(make(name).init(make_params()), "count")
    assert len(counts) <= 1 or name in _COUNTED_TWICE


@every_case
def test_map_params(name):
    optimizer = make(name)
    params = make_params()
    state = jax.eval_shape(optimizer.init, params)

    def is_hole(node):
        return isinstance(node, optax.MaskedNode)

    assert optax.tree.map_params(optimizer, lambda x: x, state) == state
    specs = jax.tree.map(lambda _: PartitionSpec(), params)
    specs["layer"]["kernel"] = PartitionSpec("x")
    state_specs = optax.tree.map_params(
        optimizer,
        lambda leaf, spec: leaf if is_hole(leaf) else spec,
        state,
        specs,
        transform_non_params=lambda _: PartitionSpec(),
        is_leaf=is_hole,
    )
    kernel = params["layer"]["kernel"]
    fits = jax.tree.map(  # raises unless the structures agree
        lambda x, spec: (x.shape == kernel.shape) == (spec == PartitionSpec("x")),
        state,
        state_specs,
    )
    assert all(jax.tree.leaves(fits))


def check_shardings():
    """In a process with 8 devices: no type, its sharding included, changes with an update."""
    assert jax.device_count() == 8
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        params = jax.tree.map(lambda x: jax.device_put(x, PartitionSpec()), make_params())
        kernel = jax.device_put(params["layer"]["kernel"], PartitionSpec("x"))
        params["layer"]["kernel"] = kernel

        def is_sharded(x):
            return x.sharding.is_equivalent_to(kernel.sharding, 2)

        for name in CASES:
            if name in _NOT_SHARDED:
                continue
            optimizer = make(name)

            def step(params, state, optimizer=optimizer, name=name):
                updates, new_state = optimizer.update(
                    params, state, params, uncertainty=0.5, **extra(params)
                )
                new_params = optax.apply_updates(params, updates)
                before, after = jax.tree.map(
                    lambda x: str(jax.typeof(x)), ((params, state), (new_params, new_state))
                )
                assert before == after, f"{name}: {before} became {after}"
                return new_params, new_state

            jax.eval_shape(lambda p, step=step, tx=optimizer: step(p, tx.init(p)), params)
            if name in ("gain over clipped adam, masked", "ngm_sgd"):  # compile some
                step = jax.jit(step)
                new_params, state = step(*step(params, jax.jit(optimizer.init)(params)))
                assert is_sharded(new_params["layer"]["kernel"])
                if name != "ngm_sgd":
                    assert is_sharded(state.base_state[1][0].mu["layer"]["kernel"])
    print("checked", len(CASES))


@pytest.mark.exhaustive
def test_shardings_are_stable_on_eight_devices():
    here = Path(__file__).resolve().parent
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "8",
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]),
    }
    done = subprocess.run(
        [sys.executable, "-c", "import test_contract; test_contract.check_shardings()"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"checked {len(CASES)}\n", done.stderr


# --- Seeds and settings ---------------------------------------------------------------------------


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
