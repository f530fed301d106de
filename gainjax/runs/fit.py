"""Check on a few examples that stream, model and goal of a benchmark fit together."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gainjax.data import Stream, normalize
from gainjax.models import Model
from gainjax.training import Goal
from gainjax.training.goal import accuracy, cross_entropy
from gainjax.training.program import Augment, Preprocess, preprocessed, seed_key

_FEW = 3  # examples in a batch
_KNOWN = (cross_entropy, accuracy)


def check_fit(
    name: str,
    model: Model,
    goal: Goal,
    preprocess: Preprocess | None,
    augment: Augment | None,
    stream: Stream,
) -> None:
    """Raise ValueError unless a model takes the inputs of a stream, and a goal its outputs.

    Args:
        name: Name of the benchmark.
        model: The model.
        goal: Loss, score and uncertainty.
        preprocess: Function that is applied to all inputs, or None.
        augment: Function that changes training inputs, or None.
        stream: The tasks.
    """
    _check_augment(name, augment, stream)
    inputs = _prepared(name, preprocess, stream)
    try:
        params, state = jax.eval_shape(model.init, seed_key(0, 0), inputs)
        outputs, _ = jax.eval_shape(
            lambda p, s, x: model.apply(p, s, x, train=False, key=None), params, state, inputs
        )
    except Exception as error:
        raise ValueError(
            f"model of benchmark {name!r} cannot take its inputs, {inputs.dtype} of shape "
            f"{('B', *inputs.shape[1:])}: {type(error).__name__}: {error}"
        ) from error
    _check_params(name, params)
    for array in jax.tree.leaves(outputs):
        if array.shape[:1] != (_FEW,):
            raise ValueError(
                f"model of benchmark {name!r} must return a row of outputs for each example: for "
                f"inputs of shape {inputs.shape} it returns shape {array.shape}. Images for "
                "convolutions need a channel axis, such as x[..., None]"
            )
    if goal.classifies:
        _check_classes(name, outputs, stream)
    _check_each_by_itself(name, goal, outputs, stream)
    _check_uncertainty(name, goal, outputs)


def _prepared(name: str, preprocess: Preprocess | None, stream: Stream) -> Any:
    """Return shape and dtype of a few inputs as the network takes them, one for each."""
    raw = jax.ShapeDtypeStruct((_FEW, *stream.train_inputs.shape[1:]), stream.train_inputs.dtype)
    try:
        inputs = jax.eval_shape(lambda x: preprocessed(normalize(stream, x), preprocess), raw)
    except Exception as error:
        raise ValueError(
            f"preprocess of benchmark {name!r} cannot take a batch of inputs, of shape {raw.shape}:"
            f" {type(error).__name__}: {error}"
        ) from error
    if getattr(inputs, "shape", ())[:1] != (_FEW,):
        raise ValueError(
            f"preprocess of benchmark {name!r} must return an input for each that it gets: for "
            f"{raw.shape} it returns {getattr(inputs, 'shape', type(inputs))}"
        )
    if preprocess is not None:
        few = jnp.asarray(stream.train_inputs[:_FEW])
        together, alone = (
            np.asarray(preprocessed(normalize(stream, x), preprocess)[:1]).astype(float)
            for x in (few, few[:1])
        )
        if not np.allclose(alone, together, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise ValueError(
                f"preprocess of benchmark {name!r} must treat each input independently, but what "
                "it returns for the first one depends on the others. Batches of training and of "
                "evaluation have different sizes: compute statistics from the training set "
                "beforehand"
            )
    return inputs


def _check_params(name: str, params: Any) -> None:
    """Raise unless all parameters can be trained."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise ValueError(
                f"parameters of the model of benchmark {name!r} must be floating-point: got "
                f"{leaf.dtype} at {jax.tree_util.keystr(path)}. Counters belong to the model's "
                "state"
            )


def is_classes(targets: Any) -> bool:
    """Whether targets are integers, one per example."""
    return targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer)


def _check_augment(name: str, augment: Augment | None, stream: Stream) -> None:
    """Raise unless augmentation keeps the number and shape of inputs."""
    if augment is None:
        return
    raw = jax.ShapeDtypeStruct((_FEW, *stream.train_inputs.shape[1:]), stream.train_inputs.dtype)
    try:
        found = jax.eval_shape(augment, seed_key(0, 0), raw)
    except Exception as error:
        raise ValueError(
            f"augment of benchmark {name!r} cannot take a key and a batch of raw inputs, of shape "
            f"{raw.shape}: {type(error).__name__}: {error}"
        ) from error
    if getattr(found, "shape", None) != raw.shape:
        raise ValueError(
            f"augment of benchmark {name!r} must return inputs of the shape that it gets: for "
            f"{raw.shape} it returns {getattr(found, 'shape', type(found))}"
        )


def _check_classes(name: str, outputs: Any, stream: Stream) -> None:
    """Raise unless there is an output for each class."""
    if not is_classes(stream.train_targets):
        raise ValueError(
            f"targets of benchmark {name!r} are {stream.train_targets.dtype} of shape "
            f"{('N', *stream.train_targets.shape[1:])}, not classes: give loss= and score=, "
            "such as loss=lambda outputs, targets: ((outputs - targets) ** 2).mean(-1)"
        )
    wanted = int(np.max([np.max(stream.train_targets), np.max(stream.test_targets)])) + 1
    if len(getattr(outputs, "shape", ())) != 2 or outputs.shape[1] < wanted:
        raise ValueError(
            f"model of benchmark {name!r} must have at least {wanted} outputs, since labels go up "
            f"to {wanted - 1}: its outputs have shape "
            f"{('B', *getattr(outputs, 'shape', ('?', '?'))[1:])}"
        )


def _check_each_by_itself(name: str, goal: Goal, outputs: Any, stream: Stream) -> None:
    """Raise unless loss and score are computed for each example independently."""
    rng = np.random.default_rng(0)
    example = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), outputs)
    index = rng.integers(len(stream.train_targets), size=_FEW)
    targets = jnp.asarray(stream.train_targets[index])
    first = jax.tree.map(lambda x: x[:1], example)
    own = [what for what in ("loss", "score") if getattr(goal, what) not in _KNOWN]
    for what in own:
        function = getattr(goal, what)
        found = function(example, targets)
        if found.shape != (_FEW,):
            raise ValueError(
                f"{what} of benchmark {name!r} must return one number per example, shape (B,): "
                f"got shape {found.shape} for B = {_FEW}"
            )
        kinds = (jnp.floating,) if what == "loss" else (jnp.floating, jnp.integer, jnp.bool_)
        if not any(jnp.issubdtype(found.dtype, kind) for kind in kinds):
            raise ValueError(
                f"{what} of benchmark {name!r} must return real numbers, of a floating-point dtype "
                f"for the loss: got {found.dtype}"
            )
        alone = function(first, targets[:1])
        if not np.allclose(alone, found[:1], rtol=1e-3, atol=1e-5, equal_nan=True):
            shapes = [("B", *x.shape[1:]) for x in (*jax.tree.leaves(outputs), targets)]
            raise ValueError(
                f"{what} of benchmark {name!r} must treat each example independently, but the "
                f"first one's depends on the others. Do outputs and targets, of shapes "
                f"{' and '.join(map(str, shapes))}, broadcast against each other?"
            )


def _check_uncertainty(name: str, goal: Goal, outputs: Any) -> None:
    if goal.uncertainty is None:
        return
    found = jax.eval_shape(goal.uncertainty, outputs)
    if found.shape != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(
            f"uncertainty of benchmark {name!r} must return one real number for a batch: got "
            f"{found.dtype} of shape {found.shape}"
        )
