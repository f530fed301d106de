"""The optimizers that the contract is about: gains over bases, and every method of the registry."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.typing import ArrayLike

from gainjax.methods import METHODS, TRACE
from gainjax.optim.modulation import gain_modulation, ngm_sgd

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


# Optax's own code of these promotes dtypes implicitly.
PROMOTING = ("adam", "momo", "muon", "polyak")


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


# Composed of rules that are cases themselves.
_COMPOSED = {
    *(
        f"gain over {name}{end}"
        for name in ("nesterov", "adamw", "rmsprop")
        for end in ("", ", masked")
    ),
    *(f"method ngm-{name}" for name in ("sgd", "msgd", "adam", "centralized-sgd", "sgd-ncm")),
    *(f"method {name}-ema" for name in ("msgd", "adam", "ngm-sgd", "ngm-sgd-slow", "fixed-gain")),
    *("method adam-reset", "method warmup-at-surprise"),
}


def _each(names):
    return pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=pytest.mark.exhaustive if name in _COMPOSED else ())
            for name in names
        ],
    )


every_case = _each(CASES)
# Where numbers are compared, the mask leaves some parameters modulated and some not.
every_rule = _each([name for name, case in CASES.items() if not case.fits_any_params])
