"""The compiled loop: advance runs by a chunk of updates, with evaluations in between.

All randomness depends only on the seed and the number of the update: a seed gives the same run
alone or in a batch, with any chunk length.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gainjax.data import Stream
from gainjax.methods import Hyperparameters
from gainjax.models import Model
from gainjax.training.layout import Layout
from gainjax.training.program import AUGMENT, BATCH, BUFFER, FORWARD, Program, seed_key
from gainjax.training.sampling import fill_buffer, sample
from gainjax.training.step import Batch, StepInfo, TrainState, evaluate, train_step

_Sums = tuple[jax.Array, jax.Array]  # of scores and of examples


class Position(NamedTuple):
    """The position of a chunk within a run."""

    task: Int[Array, ""]  # index of the task, from 0
    start: Int[Array, ""]  # updates before this task
    end: Int[Array, ""]  # number of the last update of this task
    done: Int[Array, ""]  # updates done so far
    count: Int[Array, ""]  # type: ignore[assignment]  # updates to do


class Record(NamedTuple):
    """The values that one update adds to the curves; 0 where nothing was evaluated."""

    train_loss: Float[Array, ""]
    uncertainty: Float[Array, ""]
    gain: Float[Array, ""]
    gains: Float[Array, "gains"]  # each gain if there are several, else empty
    accuracy: Float[Array, "evaluated_tasks"]  # the score, not always an accuracy
    eval_loss: Float[Array, "evaluated_tasks"]
    seen_accuracy: Float[Array, ""]


class Work(NamedTuple):
    """The static description of a call of the compiled program."""

    program: Program
    layout: Layout
    length: int  # rows of the returned curves; one compilation serves all chunks
    batch_size: int  # examples per update of this task


@partial(jax.jit, static_argnames="work", donate_argnames="states")
def advance_runs(
    work: Work,
    states: TrainState,
    seeds: jax.Array,
    hyperparameters: Hyperparameters,
    stream: Stream,
    position: Position,
) -> tuple[TrainState, Record]:
    """Advance runs by a chunk of updates within one task.

    Args:
        work: The static part.
        states: States of the runs, batched over R; donated.
        seeds: Seeds, shape (R,), uint32.
        hyperparameters: Arrays by name, each with a leading axis of R runs.
        stream: Data of all tasks, shared by the runs.
        position: Where the chunk is in the run.

    Returns:
        New states, and records of shape (R, length, ...), valid in the first ``position.count``
        rows.
    """

    def one_run(
        shared: tuple[Stream, Position],
        state: TrainState,
        seed: jax.Array,
        hyperparameters: Hyperparameters,
    ) -> tuple[TrainState, Record]:
        # The position has no run axis, so that conditions on it stay branches.
        return advance(work, state, seed, hyperparameters, *shared)

    shared = (stream, position)
    return work.layout.over_runs(one_run, shared, states, seeds, hyperparameters)


def advance(
    work: Work,
    state: TrainState,
    seed: jax.Array,
    hyperparameters: Hyperparameters,
    stream: Stream,
    position: Position,
) -> tuple[TrainState, Record]:
    """Advance one run by a chunk; see :func:`advance_runs`."""
    program = work.program
    hyperparameters = program.with_schedules(hyperparameters)
    model = program.trained_model(hyperparameters)
    optimizer = program.optimizer(hyperparameters, program.model.modulated(state.params))
    task = trained_task(program, position)
    draw = _batches(work, seed, stream, position)

    @partial(jax.jit, inline=True)  # traced once for both uses below
    def update(state: TrainState, number: jax.Array) -> tuple[TrainState, Record]:
        batch = draw(number)
        state, info = train_step(
            state,
            batch,
            model,
            program.goal,
            optimizer,
            is_switch=(task > 0) & (number - 1 == position.start),
            task=task,
            update=number,
        )
        state, evaluated = _evaluated(program, model, state, batch)
        return state, _record(program, model, evaluated, info, stream, position, number)

    def body(i: jax.Array, carry: tuple[TrainState, Record]) -> tuple[TrainState, Record]:
        state, curves = carry
        state, row = update(state, position.done + i + 1)
        write = partial(jax.lax.dynamic_update_index_in_dim, index=i, axis=0)
        return state, jax.tree.map(write, curves, row)

    row = jax.eval_shape(update, state, position.done)[1]
    curves = jax.tree.map(lambda x: jnp.zeros((work.length, *x.shape), x.dtype), row)
    return jax.lax.fori_loop(0, position.count, body, (state, curves))


def _evaluated(
    program: Program, model: Model, state: TrainState, batch: Batch
) -> tuple[TrainState, TrainState]:
    """Return the state, and the one to evaluate, such as that of an averaged network.

    A network whose weights are not the trained ones also needs its own batch statistics: it sees
    every batch.
    """
    params = program.method.eval_params(state.params, state.opt_state)
    if program.method.evaluates_trained or not jax.tree.leaves(state.eval_state):
        return state, state._replace(params=params)
    _, seen = model.apply(params, state.eval_state, batch.inputs, train=True, key=batch.key)
    return state._replace(eval_state=seen), state._replace(params=params, model_state=seen)


def trained_task(program: Program, position: Position) -> jax.Array:
    """Return the index of the newest task that is trained on: always the first without switches."""
    return position.task * (program.protocol.regime != "no-switch")


def _batches(
    work: Work, seed: jax.Array, stream: Stream, position: Position
) -> Callable[[jax.Array], Batch]:
    """Return the function that draws the batch of an update from its number."""
    program, protocol = work.program, work.program.protocol
    task = trained_task(program, position)
    seen_classes = _seen_classes(program, stream, task)
    batch_key, augment_key = seed_key(seed, BATCH), seed_key(seed, AUGMENT)
    forward_key = seed_key(seed, FORWARD)
    buffer = None
    if protocol.regime == "replay":
        buffer = fill_buffer(
            seed_key(seed, BUFFER),
            stream,
            position.task,
            protocol.buffer_size,
            protocol.buffer,
            program.num_classes,
        )

    def draw(number: jax.Array) -> Batch:
        index = sample(
            jax.random.fold_in(batch_key, number),
            stream,
            task,
            work.batch_size,
            buffer,
            joint=protocol.regime == "joint",
        )
        inputs, targets = stream.train_inputs[index], stream.train_targets[index]
        if program.augment is not None:
            inputs = program.augment(jax.random.fold_in(augment_key, number), inputs)
        inputs = program.network_inputs(stream, inputs)
        is_new = index >= jnp.asarray(stream.task_start)[task]
        return Batch(inputs, targets, jax.random.fold_in(forward_key, number), is_new, seen_classes)

    return draw


def _seen_classes(program: Program, stream: Stream, task: jax.Array) -> jax.Array:
    """Return which classes occur in the tasks so far, shape (classes,)."""
    if not program.num_classes:
        return jnp.zeros((0,), bool)
    so_far = jnp.arange(len(stream.train_targets)) < jnp.asarray(stream.task_end)[task]
    places = jnp.where(so_far, stream.train_targets, program.num_classes)  # beyond the end: dropped
    return jnp.zeros(program.num_classes, bool).at[places].set(True, mode="drop")


def _record(
    program: Program,
    model: Model,
    state: TrainState,
    info: StepInfo,
    stream: Stream,
    position: Position,
    number: jax.Array,
) -> Record:
    """Evaluate after an update if the protocol says so."""
    protocol = program.protocol

    def predict(inputs: jax.Array) -> jax.Array:
        inputs = program.test_inputs(inputs)
        return model.apply(state.params, state.model_state, inputs, train=False, key=None)[0]

    def tally(i: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        inputs, targets, size = stream.test_inputs[i], stream.test_targets[i], stream.test_sizes[i]
        sums = evaluate(predict, program.goal, inputs, targets, size, protocol.eval_batch_size)
        return *sums, size.astype(jnp.float32)

    def each_task() -> tuple[jax.Array, jax.Array, _Sums]:
        if protocol.eval_tasks == "first":
            score, loss, size = (x[None] for x in tally(0))
        else:
            score, loss, size = jax.lax.map(tally, jnp.arange(len(stream.test_sizes)))
        return score / size, loss / size, (score, size)

    def seen_tasks(known: _Sums) -> jax.Array:
        def add(i: jax.Array, total: _Sums) -> _Sums:
            score, _, size = tally(i)
            return total[0] + score, total[1] + size

        last, count = trained_task(program, position), len(known[0])
        total = tuple(jnp.where(jnp.arange(count) <= last, x, 0).sum() for x in known)
        if count < len(stream.test_sizes):
            total = jax.lax.fori_loop(count, last + 1, add, total)
        return total[0] / total[1]

    def when_due(every: int, measure: Callable[[], Any]) -> Any:
        if every == 1:
            return measure()
        due = protocol.is_due(number, position.start, position.end, every)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(measure))
        return jax.lax.cond(due, measure, lambda: nothing)

    accuracy, eval_loss, sums = when_due(protocol.eval_every, each_task)
    # If each update with the second evaluation has the first one, its tasks need no other.
    both = protocol.seen_every % protocol.eval_every == 0
    known = sums if both else jax.tree.map(lambda x: x[:0], sums)
    seen = when_due(protocol.seen_every, lambda: seen_tasks(known))
    return Record(*info, accuracy, eval_loss, seen)
