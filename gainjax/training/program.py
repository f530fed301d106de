"""The compiled part of training: initialise runs, and advance them by a chunk of updates.

A program is static (shapes, structure, which method); hyper-parameters and seeds are data, so all
seeds and settings of a method share one compilation. Whatever is random depends only on the seed and
the number of the update: a seed gives the same run alone or in a batch, in chunks of any length.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gainjax.data.streams import Stream, normalise
from gainjax.gain import GainDynamics
from gainjax.layers import COLLECTION, modulated_mask
from gainjax.methods import Hyperparameters, Method
from gainjax.training.step import StepInfo, TrainState, evaluate, train_step

ModelFactory = Callable[[int, GainDynamics | None], nn.Module]
Form = Literal["optimizer", "model"]
_INIT, _BATCH = 0, 1  # streams of random numbers of a seed


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a stream is trained on and evaluated.

    Args:
        updates_per_task: Updates on each task, >= 1.
        batch_size: Examples per update, >= 1, drawn with replacement from all tasks so far.
        eval_every: Evaluate after each update whose number it divides, and at the end of each task.
        eval_tasks: Evaluate the test set of the first task, or those of all tasks.
        seen_every: Measure accuracy on all tasks seen so far after each update whose number it
            divides, and at the end of each task.
        eval_batch_size: Test images per forward pass, or None for a whole test set at once.

    Raises:
        ValueError: If a number is below 1, or ``eval_tasks`` is neither "first" nor "all".
    """

    updates_per_task: int
    batch_size: int
    eval_every: int = 1
    eval_tasks: Literal["first", "all"] = "first"
    seen_every: int = 10
    eval_batch_size: int | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "eval_tasks" and value is not None and value < 1:
                raise ValueError(f"{field.name} must be at least 1: got {value}")
        if self.eval_tasks not in ("first", "all"):
            raise ValueError(f"eval_tasks must be 'first' or 'all': got {self.eval_tasks!r}")

    def is_evaluated(self, update: Any, every: int) -> Any:
        """Whether there is an evaluation after an update (1-based; a number, array or tracer)."""
        return (update % every == 0) | (update % self.updates_per_task == 0)


@dataclasses.dataclass(frozen=True)
class Program:
    """Everything static about a run.

    Args:
        make_model: Makes the Flax module from the number of classes and the gain dynamics, which
            are None for a plain model. Models of equal arguments must be one function object, since
            compiled programs are found again by it.
        num_classes: Number of outputs.
        method: Entry of the registry.
        protocol: How to train and evaluate.
        form: Where the gain is: in the "optimizer" (effective weights in a plain model) or in the
            "model" (raw weights, gain as a collection). The two give the same runs.

    Raises:
        ValueError: If the form is unknown.
    """

    make_model: ModelFactory
    num_classes: int
    method: Method
    protocol: Protocol
    form: Form = "optimizer"

    def __post_init__(self) -> None:
        if self.form not in ("optimizer", "model"):
            raise ValueError(f"form must be 'optimizer' or 'model': got {self.form!r}")

    def model(self, hyperparameters: Hyperparameters) -> nn.Module:
        """Return the model to train: with gains of its own only in the form "model"."""
        in_model = self.form == "model"
        dynamics = self.method.dynamics(hyperparameters) if in_model else None
        return self.make_model(self.num_classes, dynamics)

    def optimizer(
        self, hyperparameters: Hyperparameters, mask: Any
    ) -> optax.GradientTransformationExtraArgs:
        """Return the optimiser of the parameters: with a gain only in the form "optimizer"."""
        if self.form == "model":
            return optax.with_extra_args_support(self.method.base(hyperparameters))
        return self.method.optimizer(hyperparameters, mask)

    def mask(self, image_shape: tuple[int, ...]) -> Any:
        """Return which parameters a gain multiplies, found by the shapes of the modulated model."""
        shapes = jax.eval_shape(
            self.make_model(self.num_classes, GainDynamics()).init,
            jax.random.key(0),
            jnp.zeros((1, *image_shape)),
        )
        return modulated_mask(shapes["params"], shapes[COLLECTION])


class Record(NamedTuple):
    """What one update leaves in the curves; NaN where nothing was evaluated."""

    train_loss: jax.Array  # shape=()
    uncertainty: jax.Array  # shape=()
    gain: jax.Array  # shape=()
    accuracy: jax.Array  # shape=(evaluated tasks,)
    eval_loss: jax.Array  # shape=(evaluated tasks,)
    seen_accuracy: jax.Array  # shape=()


@partial(jax.jit, static_argnames="program")
def init_runs(
    program: Program, seeds: jax.Array, hyperparameters: Hyperparameters, stream: Stream
) -> TrainState:
    """Return the states of new runs, batched over seeds, shape (R,), and hyper-parameters, (R,)."""
    return jax.vmap(partial(_init, program), in_axes=(0, 0, None))(seeds, hyperparameters, stream)


@partial(jax.jit, static_argnames=("program", "length"), donate_argnames="states")
def advance_runs(
    program: Program,
    length: int,
    states: TrainState,
    seeds: jax.Array,
    hyperparameters: Hyperparameters,
    stream: Stream,
    task: ArrayLike,
    done: ArrayLike,
    count: ArrayLike,
) -> tuple[TrainState, Record]:
    """Advance runs by a chunk of updates within one task.

    Args:
        program: The static part.
        length: Rows of the returned curves, >= count. One compilation serves all chunks.
        states: States of the runs, batched over R; donated.
        seeds: Seeds, shape (R,), uint32.
        hyperparameters: Numbers by name, each of shape (R,).
        stream: Data of all tasks, shared by the runs.
        task: Index of the task, from 0.
        done: Updates done so far.
        count: Updates to do.

    Returns:
        New states, and records of shape (R, length, ...) of which the first ``count`` rows count.
    """
    one_run = partial(_advance, program, length)
    # Task and counters stay unbatched, so that conditions on them stay branches.
    batched = jax.vmap(one_run, in_axes=(0, 0, 0, None, None, None, None))
    return batched(states, seeds, hyperparameters, stream, task, done, count)


def _init(
    program: Program, seed: jax.Array, hyperparameters: Hyperparameters, stream: Stream
) -> TrainState:
    image_shape = stream.train_images.shape[1:]
    key = jax.random.fold_in(jax.random.key(seed), _INIT)
    variables = program.model(hyperparameters).init(key, jnp.zeros((1, *image_shape)))
    params = variables.pop("params")
    mask = program.mask(image_shape)
    dynamics = program.method.dynamics(hyperparameters)
    if program.form == "optimizer" and dynamics is not None:
        # The optimiser trains effective weights: at the start, baseline times raw weights.
        params = jax.tree.map(lambda on, p: p * dynamics.baseline if on else p, mask, params)
    return TrainState(params, variables, program.optimizer(hyperparameters, mask).init(params))


def _advance(
    program: Program,
    length: int,
    state: TrainState,
    seed: jax.Array,
    hyperparameters: Hyperparameters,
    stream: Stream,
    task: jax.Array,
    done: jax.Array,
    count: jax.Array,
) -> tuple[TrainState, Record]:
    model = program.model(hyperparameters)
    optimizer = program.optimizer(hyperparameters, program.mask(stream.train_images.shape[1:]))
    batch_key = jax.random.fold_in(jax.random.key(seed), _BATCH)

    def update(state: TrainState, number: jax.Array) -> tuple[TrainState, Record]:
        images, labels = _sample(
            jax.random.fold_in(batch_key, number), stream, task, program.protocol.batch_size
        )
        state, info = train_step(state, images, labels, model, optimizer)
        return state, _record(program.protocol, model, state, info, stream, task, number)

    def body(i: jax.Array, carry: tuple[TrainState, Record]) -> tuple[TrainState, Record]:
        state, curves = carry
        state, row = update(state, done + i + 1)
        write = partial(jax.lax.dynamic_update_index_in_dim, index=i, axis=0)
        return state, jax.tree.map(write, curves, row)

    row = jax.eval_shape(update, state, done)[1]
    curves = jax.tree.map(lambda x: jnp.full((length, *x.shape), jnp.nan, x.dtype), row)
    return jax.lax.fori_loop(0, count, body, (state, curves))


def _sample(
    key: jax.Array, stream: Stream, task: jax.Array, batch_size: int
) -> tuple[jax.Array, jax.Array]:
    """Draw a batch with replacement, uniformly over the pooled examples of the tasks so far."""
    index = jax.random.randint(key, (batch_size,), 0, stream.task_end[task])
    return normalise(stream, stream.train_images[index]), stream.train_labels[index]


def _record(
    protocol: Protocol,
    model: nn.Module,
    state: TrainState,
    info: StepInfo,
    stream: Stream,
    task: jax.Array,
    number: jax.Array,
) -> Record:
    """Evaluate after an update where the protocol says so."""

    def predict(images: jax.Array) -> jax.Array:
        return model.apply({"params": state.params, **state.model_state}, images, train=False)

    def tally(i: ArrayLike) -> tuple[jax.Array, jax.Array, jax.Array]:
        test_set = stream.test_images[i], stream.test_labels[i]
        return evaluate(predict, *test_set, protocol.eval_batch_size)

    def each_task() -> tuple[jax.Array, jax.Array]:
        if protocol.eval_tasks == "first":
            correct, loss, size = (x[None] for x in tally(0))
        else:
            correct, loss, size = jax.lax.map(tally, jnp.arange(len(stream.test_labels)))
        return correct / size, loss / size

    def seen_tasks() -> jax.Array:
        def add(i: jax.Array, total: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            correct, _, size = tally(i)
            return total[0] + correct, total[1] + size

        correct, size = jax.lax.fori_loop(0, task + 1, add, (jnp.zeros(()), jnp.zeros(())))
        return correct / size

    accuracy, eval_loss = _branch(protocol, protocol.eval_every, number, each_task)
    seen_accuracy = _branch(protocol, protocol.seen_every, number, seen_tasks)
    return Record(*info, accuracy, eval_loss, seen_accuracy)


def _branch(protocol: Protocol, every: int, number: jax.Array, measure: Callable[[], Any]) -> Any:
    """Measure after every so many updates and at the end of a task; NaN otherwise."""
    if every == 1:
        return measure()
    nothing = jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan, x.dtype), jax.eval_shape(measure))
    return jax.lax.cond(protocol.is_evaluated(number, every), measure, lambda: nothing)
