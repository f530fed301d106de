"""The contract, continued: the state of every method has the shape of its parameters."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract_cases import CASES, abstract, every_case, extra, make, make_params
from jax.sharding import PartitionSpec

# Optax's own code of these, or JAX's linear solver in the last, cannot do explicit sharding.
_NOT_SHARDED = ("method agc", "method momo", "method muon", "method layerwise-proximal")

# Optax's own code of these computes with the parameters at `init`, or counts in each of its parts.
_NEED_ARRAYS = ("method momo", "method schedule-free")
_COUNTED_TWICE = ("method muon",)


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
        [
            sys.executable,
            "-c",
            "import test_contract_states; test_contract_states.check_shardings()",
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"checked {len(CASES)}\n", done.stderr
