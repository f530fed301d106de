"""The static part of training: what is compiled, and the initial state of a run.

A program is static (shapes, structure, method); hyperparameters and seeds are data, so all seeds
and settings of a method share one compilation.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gainjax.data import Stream, normalize
from gainjax.gain import at_least_float32, predictive_entropy
from gainjax.methods import TRACE, Hyperparameters, Method, schedule
from gainjax.models import Model
from gainjax.optim.masks import scale_modulated
from gainjax.training.goal import CLASSIFICATION, Goal
from gainjax.training.layout import Layout
from gainjax.training.protocol import Protocol
from gainjax.training.step import TrainState

Augment = Callable[[jax.Array, jax.Array], jax.Array]
Preprocess = Callable[[jax.Array], jax.Array]
Form = Literal["optimizer", "model"]
INIT, BATCH, BUFFER, AUGMENT, FORWARD = range(5)  # streams of random numbers per seed


@dataclasses.dataclass(frozen=True)
class Program:
    """Everything static about a run.

    Args:
        model: The model. Compiled programs are cached by this object, so reuse it.
        method: The method.
        protocol: How to train and evaluate.
        goal: Loss, score and uncertainty.
        form: Where the gain is: in the "optimizer" (effective weights in a plain model) or in the
            "model" (raw weights; the model carries the gain). The two give the same runs.
        augment: ``augment(key, inputs)`` changes a batch of raw training inputs; or None.
        preprocess: ``preprocess(inputs)`` is applied to all inputs, on the device; or None.
        num_classes: Number of classes, for a memory balanced by class; 0 without classes.
        schedules: Names of the hyperparameters that have one value per update.
        code: Fingerprint of its code, which may change although all functions are the same objects:
            compiled programs are also cached by it.
        shared_code: As ``code``, for what all methods share.

    Raises:
        ValueError: If the form is unknown, the model has no form with a gain, or a balanced memory
            has no classes or is too small for all of them.
    """

    model: Model
    method: Method
    protocol: Protocol
    goal: Goal = CLASSIFICATION
    form: Form = "optimizer"
    augment: Augment | None = None
    preprocess: Preprocess | None = None
    num_classes: int = 0
    schedules: frozenset[str] = frozenset()
    code: str = ""
    shared_code: str = ""

    def __post_init__(self) -> None:
        if self.form not in ("optimizer", "model"):
            raise ValueError(f"form must be 'optimizer' or 'model': got {self.form!r}")
        if self.form == "model" and self.method.wrap is not None:
            raise ValueError(
                f"{self.method.name} wraps the optimizer together with its gain, but form='model' "
                "puts the gain into the model: use form='optimizer'"
            )
        if self.form == "model" and self.model.twin is None:
            raise ValueError(
                "form='model' needs a model that can be made with the gain of the method in its "
                "layers, a Linen module with a field `dynamics`; this one cannot. Use "
                "form='optimizer', which gives the same runs, or, if its layers have gains of "
                "their own, a method without one, such as 'sgd'"
            )
        if self.form == "model" and self.goal.uncertainty is not predictive_entropy:
            raise ValueError(
                "form='model' follows the entropy of a softmax, but this benchmark has another "
                "uncertainty: use form='optimizer'"
            )
        if self.protocol.regime == "replay" and self.protocol.buffer == "balanced":
            if not self.num_classes:
                raise ValueError("buffer='balanced' needs class targets: use 'reservoir'")
            if self.protocol.buffer_size < self.num_classes:
                raise ValueError(
                    f"buffer_size must be at least {self.num_classes}, one example of each class, "
                    f"for a balanced memory: got {self.protocol.buffer_size}"
                )

    def with_schedules(self, hyperparameters: Hyperparameters) -> Hyperparameters:
        """Return hyperparameters, with those that have a value per update as schedules."""
        return {
            name: schedule(value) if name in self.schedules else value
            for name, value in hyperparameters.items()
        }

    def trained_model(self, hyperparameters: Hyperparameters) -> Model:
        """Return the model to train: it has a gain only in the form "model"."""
        if self.form == "optimizer" or self.model.twin is None:
            return self.model
        dynamics = self.method.dynamics(hyperparameters)
        return self.model if dynamics is None else self.model.twin(dynamics)

    def optimizer(
        self, hyperparameters: Hyperparameters, mask: Any
    ) -> optax.GradientTransformationExtraArgs:
        """Return the optimizer of the parameters: it has a gain only in the form "optimizer"."""
        make = self.method.base if self.form == "model" else self.method.optimizer
        return make(hyperparameters, mask)

    def network_inputs(self, stream: Stream, raw: ArrayLike) -> jax.Array:
        """Return raw training inputs as the network takes them."""
        return preprocessed(normalize(stream, raw), self.preprocess)

    def test_inputs(self, inputs: jax.Array) -> jax.Array:
        """Return normalized test inputs as the network takes them."""
        return preprocessed(inputs, self.preprocess)


def preprocessed(inputs: jax.Array, preprocess: Preprocess | None) -> jax.Array:
    """Return normalized inputs as the network takes them."""
    return inputs if preprocess is None else preprocess(inputs)


def seed_key(seed: ArrayLike, stream: int) -> jax.Array:
    """Return the key of one random stream of a seed, whatever JAX's default PRNG."""
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), stream)


def one_input(program: Program, stream: Stream) -> jax.ShapeDtypeStruct:
    """Return shape and dtype of a batch with one network input, shape (1, ...)."""
    raw = jax.ShapeDtypeStruct((1, *stream.train_inputs.shape[1:]), stream.train_inputs.dtype)
    # A new function each time: JAX caches by function, and `preprocess` may have changed.
    seen = jax.eval_shape(lambda *given: program.network_inputs(*given), stream, raw)
    return jax.ShapeDtypeStruct(seen.shape, seen.dtype)


def init_runs(
    program: Program,
    layout: Layout,
    seeds: ArrayLike,
    hyperparameters: Hyperparameters,
    example: jax.ShapeDtypeStruct,
) -> TrainState:
    """Return the states of R new runs for seeds and hyperparameters of shape (R, ...).

    Args:
        program: The static part.
        layout: How the runs are laid out on hardware.
        seeds: Seeds, shape (R,), uint32.
        hyperparameters: Arrays by name, each with a leading axis of runs.
        example: What :func:`one_input` returns.
    """
    where = (example.shape, example.dtype.name)
    of_model = (program.model, program.shared_code)
    weights, state = _init_weights(*of_model, *where, layout, seeds)
    return _init_states(program, layout, *where, weights, state, hyperparameters)


def abstract_runs(
    program: Program,
    layout: Layout,
    seeds: Any,
    hyperparameters: Any,
    example: jax.ShapeDtypeStruct,
) -> TrainState:
    """Return shapes and dtypes of what :func:`init_runs` returns for the same arguments."""
    where = (example.shape, example.dtype.name)
    of_model = (program.model, program.shared_code)
    weights, state = _init_weights.eval_shape(*of_model, *where, layout, seeds)
    return _init_states.eval_shape(program, layout, *where, weights, state, hyperparameters)


# Less optimization gives the same weights, and compiles random numbers in less time.
@partial(
    jax.jit,
    static_argnames=("model", "code", "shape", "dtype", "layout"),
    compiler_options={"xla_backend_optimization_level": 1},
)
def _init_weights(
    model: Model,
    code: str,
    shape: tuple[int, ...],
    dtype: str,
    layout: Layout,
    seeds: jax.Array,
) -> Any:
    """Return raw initial weights and model states; compiled once for all methods.

    They depend on the seed only, not on where the gain is.
    """
    del code  # only compiled programs are cached by it

    def one_run(_: None, seed: jax.Array) -> Any:
        return model.init(seed_key(seed, INIT), jnp.zeros(shape, dtype))

    return layout.over_runs(one_run, None, seeds)


@partial(jax.jit, static_argnames=("program", "layout", "shape", "dtype"))
def _init_states(
    program: Program,
    layout: Layout,
    shape: tuple[int, ...],
    dtype: str,
    weights: Any,
    model_state: Any,
    hyperparameters: Hyperparameters,
) -> TrainState:
    def one_run(_: None, weights: Any, state: Any, hyperparameters: Hyperparameters) -> TrainState:
        return init_state(program, jnp.zeros(shape, dtype), weights, state, hyperparameters)

    return layout.over_runs(one_run, None, weights, model_state, hyperparameters)


def init_state(
    program: Program,
    example: jax.Array,
    params: Any,
    model_state: Any,
    hyperparameters: Hyperparameters,
) -> TrainState:
    """Return the state of one new run that starts from raw weights; see :func:`init_runs`."""
    hyperparameters = program.with_schedules(hyperparameters)
    mask = program.model.modulated(params)
    if program.form == "model":
        model = program.trained_model(hyperparameters)
        if model is not program.model:  # it carries a gain, which does not depend on the key
            model_state = model.init(seed_key(0, INIT), example)[1]
    else:
        # The optimizer trains effective weights: at the start, the first gain times raw weights.
        gain = program.method.initial_gain(hyperparameters)
        params = scale_modulated(params, jnp.asarray(gain, at_least_float32()), mask)
    eval_state = () if program.method.evaluates_trained else jax.tree.map(jnp.copy, model_state)
    opt_state = program.optimizer(hyperparameters, mask).init(params)
    return TrainState(params, model_state, opt_state, eval_state)


def abstract_hyperparameters(program: Program, names: Any, updates: int) -> Hyperparameters:
    """Return shapes and dtypes of one run's hyperparameters.

    Args:
        program: The static part.
        names: Names of those that are given.
        updates: Updates of the whole run.
    """
    number = jax.ShapeDtypeStruct((), jnp.float32)
    each = jax.ShapeDtypeStruct((updates,), jnp.float32)
    return {name: each if name in {*program.schedules, TRACE} else number for name in names}
