"""The compiled part of training: initialise runs, and advance them by a chunk of updates.

A program is static (shapes, structure, which method); hyper-parameters and seeds are data, so all
seeds and settings of a method share one compilation. Whatever is random depends only on the seed
and the number of the update: a seed gives the same run alone or in a batch, in any chunks.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from gainjax.data.streams import Stream, normalise
from gainjax.gain import GainDynamics
from gainjax.methods import Hyperparameters, Method
from gainjax.models.layers import COLLECTION, Modulate, modulated_mask
from gainjax.training.layout import Layout
from gainjax.training.protocol import Protocol
from gainjax.training.sampling import fill_buffer, sample
from gainjax.training.step import StepInfo, TrainState, evaluate, train_step

ModelFactory = Callable[[int, GainDynamics | None, Modulate], nn.Module]
Augment = Callable[[jax.Array, jax.Array], jax.Array]
Form = Literal["optimizer", "model"]
_INIT, _BATCH, _BUFFER, _AUGMENT = 0, 1, 2, 3  # streams of random numbers of a seed


@dataclasses.dataclass(frozen=True)
class Program:
    """Everything static about a run.

    Args:
        make_model: Makes the Flax module from the number of classes, the gain dynamics, which are
            None for a plain model, and which layers have a gain. Models of equal arguments must be
            one function object, since compiled programs are found again by it.
        num_classes: Number of outputs.
        method: Entry of the registry.
        protocol: How to train and evaluate.
        form: Where the gain is: in the "optimizer" (effective weights in a plain model) or in the
            "model" (raw weights, gain as a collection). The two give the same runs.
        modulate: Which layers have a gain: "all", or the "head" alone.
        augment: Changes a batch of raw training images, given a key; or None.

    Raises:
        ValueError: If a word is none of those above, or a balanced memory has no room for each
            class.
    """

    make_model: ModelFactory
    num_classes: int
    method: Method
    protocol: Protocol
    form: Form = "optimizer"
    modulate: Modulate = "all"
    augment: Augment | None = None

    def __post_init__(self) -> None:
        if self.form not in ("optimizer", "model"):
            raise ValueError(f"form must be 'optimizer' or 'model': got {self.form!r}")
        if self.modulate not in ("all", "head"):
            raise ValueError(f"modulate must be 'all' or 'head': got {self.modulate!r}")
        balanced = self.protocol.regime == "replay" and self.protocol.buffer == "balanced"
        if balanced and self.protocol.buffer_size < self.num_classes:
            raise ValueError(
                f"buffer_size must be at least {self.num_classes}, an image of each class, for a "
                f"balanced memory: got {self.protocol.buffer_size}"
            )

    def model(self, hyperparameters: Hyperparameters) -> nn.Module:
        """Return the model to train: with gains of its own only in the form "model"."""
        in_model = self.form == "model"
        dynamics = self.method.dynamics(hyperparameters) if in_model else None
        return self.make_model(self.num_classes, dynamics, self.modulate)

    def optimizer(
        self, hyperparameters: Hyperparameters, mask: Any
    ) -> optax.GradientTransformationExtraArgs:
        """Return the optimiser of the parameters: with a gain only in the form "optimizer"."""
        if self.form == "model":
            return optax.with_extra_args_support(self.method.base(hyperparameters, mask))
        return self.method.optimizer(hyperparameters, mask)

    def mask(self, image_shape: tuple[int, ...]) -> Any:
        """Return which parameters a gain multiplies, found by the shapes of the modulated model."""
        shapes = jax.eval_shape(
            self.make_model(self.num_classes, GainDynamics(), self.modulate).init,
            jax.random.key(0),
            jnp.zeros((1, *image_shape)),
        )
        if COLLECTION not in shapes:
            raise ValueError(
                "make_model must return a model with modulated layers, such as "
                f"gainjax.GainDense, when it is given gain dynamics: {self.make_model!r} returns "
                f"one without a collection {COLLECTION!r}"
            )
        return modulated_mask(shapes["params"], shapes[COLLECTION])


class Position(NamedTuple):
    """Where in a run a chunk is; each of shape (), int32."""

    task: jax.Array  # index of the task, from 0
    done: jax.Array  # updates done so far
    count: jax.Array  # type: ignore[assignment]  # updates to do


class Record(NamedTuple):
    """What one update leaves in the curves; NaN where nothing was evaluated."""

    train_loss: jax.Array  # shape=()
    uncertainty: jax.Array  # shape=()
    gain: jax.Array  # shape=()
    accuracy: jax.Array  # shape=(evaluated tasks,)
    eval_loss: jax.Array  # shape=(evaluated tasks,)
    seen_accuracy: jax.Array  # shape=()


def init_runs(
    program: Program,
    layout: Layout,
    seeds: ArrayLike,
    hyperparameters: Hyperparameters,
    image_shape: tuple[int, ...],
) -> TrainState:
    """Return the states of R new runs for seeds and hyper-parameters of shape (R,)."""
    model = (program.make_model, program.num_classes, program.modulate, image_shape)
    weights = _init_weights(*model, layout, seeds)
    return _init_states(program, layout, image_shape, weights, hyperparameters)


@partial(
    jax.jit,
    static_argnames=("make_model", "num_classes", "modulate", "image_shape", "layout"),
)
def _init_weights(
    make_model: ModelFactory,
    num_classes: int,
    modulate: Modulate,
    image_shape: tuple[int, ...],
    layout: Layout,
    seeds: jax.Array,
) -> Any:
    """Return raw initial weights; compiled once for all methods, since random numbers are slow to.

    They depend on the seed alone, and not on the form of the model.
    """
    model = make_model(num_classes, None, modulate)

    def one_run(_: None, seed: jax.Array) -> Any:
        key = jax.random.fold_in(jax.random.key(seed), _INIT)
        return model.init(key, jnp.zeros((1, *image_shape)))["params"]

    return layout.over_runs(one_run, None, seeds)


@partial(jax.jit, static_argnames=("program", "layout", "image_shape"))
def _init_states(
    program: Program,
    layout: Layout,
    image_shape: tuple[int, ...],
    weights: Any,
    hyperparameters: Hyperparameters,
) -> TrainState:
    def one_run(_: None, weights: Any, hyperparameters: Hyperparameters) -> TrainState:
        return init_state(program, image_shape, weights, hyperparameters)

    return layout.over_runs(one_run, None, weights, hyperparameters)


@partial(
    jax.jit,
    static_argnames=("program", "layout", "length", "batch_size"),
    donate_argnames="states",
)
def advance_runs(
    program: Program,
    layout: Layout,
    length: int,
    batch_size: int,
    states: TrainState,
    seeds: jax.Array,
    hyperparameters: Hyperparameters,
    stream: Stream,
    position: Position,
) -> tuple[TrainState, Record]:
    """Advance runs by a chunk of updates within one task.

    Args:
        program: The static part.
        layout: How the runs are laid out on hardware.
        length: Rows of the returned curves, >= position.count. One compilation serves all chunks.
        batch_size: Examples per update of this task.
        states: States of the runs, batched over R; donated.
        seeds: Seeds, shape (R,), uint32.
        hyperparameters: Numbers by name, each of shape (R,).
        stream: Data of all tasks, shared by the runs.
        position: Where in the run the chunk is.

    Returns:
        New states, and records of shape (R, length, ...) of which the first ``position.count`` rows
        count.
    """

    def one_run(
        shared: tuple[Stream, Position],
        state: TrainState,
        seed: jax.Array,
        hyperparameters: Hyperparameters,
    ) -> tuple[TrainState, Record]:
        # The position has no run axis, so that conditions on it stay branches.
        stream, position = shared
        return advance(program, length, batch_size, state, seed, hyperparameters, stream, position)

    return layout.over_runs(one_run, (stream, position), states, seeds, hyperparameters)


def init_state(
    program: Program, image_shape: tuple[int, ...], params: Any, hyperparameters: Hyperparameters
) -> TrainState:
    """Return the state of one new run that starts from raw weights; see :func:`init_runs`."""
    images = jnp.zeros((1, *image_shape))
    variables = dict(program.model(hyperparameters).init(jax.random.key(0), images))
    del variables["params"]  # what is left does not depend on the key
    mask = program.mask(image_shape)
    if program.form == "optimizer":
        # The optimiser trains effective weights: at the start, the first gain times raw weights.
        gain = program.method.initial_gain(hyperparameters)
        params = jax.tree.map(lambda on, p: p * gain if on else p, mask, params)
    return TrainState(params, variables, program.optimizer(hyperparameters, mask).init(params))


def advance(
    program: Program,
    length: int,
    batch_size: int,
    state: TrainState,
    seed: jax.Array,
    hyperparameters: Hyperparameters,
    stream: Stream,
    position: Position,
) -> tuple[TrainState, Record]:
    """Advance one run by a chunk; see :func:`advance_runs`."""
    task, done, count = position
    model = program.model(hyperparameters)
    optimizer = program.optimizer(hyperparameters, program.mask(stream.train_images.shape[1:]))
    key = jax.random.key(seed)
    batch_key = jax.random.fold_in(key, _BATCH)
    augment_key = jax.random.fold_in(key, _AUGMENT)
    buffer = None
    if program.protocol.regime == "replay":
        buffer = fill_buffer(
            jax.random.fold_in(key, _BUFFER),
            stream,
            task,
            program.protocol.buffer_size,
            program.protocol.buffer,
            program.num_classes,
        )

    def update(state: TrainState, number: jax.Array) -> tuple[TrainState, Record]:
        index = sample(
            jax.random.fold_in(batch_key, number),
            stream,
            task,
            batch_size,
            buffer,
            joint=program.protocol.regime == "joint",
        )
        images, labels = stream.train_images[index], stream.train_labels[index]
        if program.augment is not None:
            images = program.augment(jax.random.fold_in(augment_key, number), images)
        images = normalise(stream, images)
        is_switch = (task > 0) & ((number - 1) % program.protocol.updates_per_task == 0)
        state, info = train_step(state, images, labels, model, optimizer, is_switch=is_switch)
        params = program.method.eval_params(state.params, state.opt_state)
        evaluated = state._replace(params=params)
        return state, _record(program.protocol, model, evaluated, info, stream, task, number)

    def body(i: jax.Array, carry: tuple[TrainState, Record]) -> tuple[TrainState, Record]:
        state, curves = carry
        state, row = update(state, done + i + 1)
        write = partial(jax.lax.dynamic_update_index_in_dim, index=i, axis=0)
        return state, jax.tree.map(write, curves, row)

    row = jax.eval_shape(update, state, done)[1]
    curves = jax.tree.map(lambda x: jnp.full((length, *x.shape), jnp.nan, x.dtype), row)
    return jax.lax.fori_loop(0, count, body, (state, curves))


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
        variables = {"params": state.params, **state.model_state}
        return cast(jax.Array, model.apply(variables, images, train=False))

    def tally(i: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        images, labels = stream.test_images[i], stream.test_labels[i]
        return evaluate(predict, images, labels, protocol.eval_batch_size)

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
