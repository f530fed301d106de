"""The protocol: how a stream is trained on, and after which updates it is evaluated."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypedDict, get_args

import numpy as np

from gainjax.checks import check_integer

BatchGrowth = Literal["constant", "linear"]
Evaluated = Literal["first", "all"]
Regime = Literal["joint", "replay", "fine-tuning", "no-switch"]
Buffer = Literal["reservoir", "balanced"]
_CHOICES = {
    "batch_growth": get_args(BatchGrowth),
    "eval_tasks": get_args(Evaluated),
    "regime": get_args(Regime),
    "buffer": get_args(Buffer),
}
_OF_EVALUATION = ("eval_every", "eval_tasks", "seen_every", "dense_updates", "eval_batch_size")


class ProtocolOptions(TypedDict, total=False):
    """The fields of :class:`Protocol` as options, for type checkers and editors."""

    updates_per_task: int | Sequence[int]
    batch_size: int
    batch_growth: BatchGrowth
    eval_every: int
    eval_tasks: Evaluated
    seen_every: int
    dense_updates: int
    eval_batch_size: int | None
    regime: Regime
    buffer: Buffer
    buffer_size: int


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a stream is trained on and evaluated.

    Args:
        updates_per_task: Updates on each task, >= 1: one number, or one per task.
        batch_size: Examples per update, >= 1, drawn with replacement.
        batch_growth: Whether task k has batches of that size ("constant") or of k times that size
            ("linear"), so that each task so far keeps its share.
        eval_every: Evaluate every N updates, and at the beginning and end of each task.
        eval_tasks: Evaluate the test set of the first task, or those of all tasks.
        seen_every: Measure the score on all tasks seen so far every N updates, and at the beginning
            and end of each task.
        dense_updates: Number of updates at the beginning of a task that are each followed by both,
            since the effects of a switch show there; >= 0.
        eval_batch_size: Test examples per forward pass, or None for a whole test set at once.
        regime: What later tasks train on: "joint", all examples so far; "replay", half new
            examples and half from a bounded memory; "fine-tuning", new examples only; "no-switch",
            the first task only: training continues as if there were no other, which shows the gap
            that a method has without a switch.
        buffer: Replay memory: "reservoir" (uniform over the past) or "balanced" by class.
        buffer_size: Examples in the replay memory, >= 1.

    Raises:
        ValueError: If a number is not an integer or below 1, an option is not one of those above,
            or batches are too small for a replay.

    Example:
        >>> protocol = Protocol(
        ...     updates_per_task=[5, 4], batch_size=8, eval_every=2, dense_updates=1
        ... )
        >>> protocol.eval_updates(2)
        array([1, 2, 4, 5, 6, 8, 9])
    """

    updates_per_task: int | tuple[int, ...]
    batch_size: int
    batch_growth: BatchGrowth = "constant"
    eval_every: int = 1
    eval_tasks: Evaluated = "first"
    seen_every: int = 10
    dense_updates: int = 16
    eval_batch_size: int | None = None
    regime: Regime = "joint"
    buffer: Buffer = "reservoir"
    buffer_size: int = 500

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in _CHOICES:
                if value not in _CHOICES[field.name]:
                    wanted = " or ".join(map(repr, _CHOICES[field.name]))
                    raise ValueError(f"{field.name} must be {wanted}: got {value!r}")
            elif field.name == "updates_per_task" and isinstance(value, Iterable):
                object.__setattr__(self, field.name, _each("updates_per_task", value))
            elif value is not None or field.name != "eval_batch_size":
                check_integer(field.name, value, 0 if field.name == "dense_updates" else 1)
                object.__setattr__(self, field.name, int(value))  # NumPy numbers do not fit JSON
        if self.regime == "replay" and self.batch_size < 2:
            raise ValueError(
                f"batch_size must be at least 2 for a replay, half old and half new: got "
                f"{self.batch_size}"
            )

    @property
    def training(self) -> dict[str, Any]:
        """The fields that affect training; the others concern evaluation."""
        return {name: getattr(self, name) for name in self.training_fields()}

    @classmethod
    def training_fields(cls) -> list[str]:
        """Return the names of the fields that affect training."""
        return [f.name for f in dataclasses.fields(cls) if f.name not in _OF_EVALUATION]

    @property
    def longest_task(self) -> int:
        """The largest number of updates of any task."""
        updates = self.updates_per_task
        return updates if isinstance(updates, int) else max(updates)

    def task_ends(self, num_tasks: int) -> np.ndarray:
        """Return the number of the last update of each task, shape (tasks,), int64.

        Args:
            num_tasks: Number of tasks of the stream.

        Raises:
            ValueError: If ``updates_per_task`` lists another number of tasks.
        """
        updates = self.updates_per_task
        if isinstance(updates, int):
            updates = (updates,) * num_tasks
        if len(updates) != num_tasks:
            raise ValueError(
                f"updates_per_task must have one number for each of the {num_tasks} tasks: got "
                f"{list(updates)}"
            )
        return np.cumsum(updates)

    def eval_updates(self, num_tasks: int) -> np.ndarray:
        """Return the updates after which test sets are evaluated, ascending, 1-based."""
        return self._due(num_tasks, self.eval_every)

    def seen_updates(self, num_tasks: int) -> np.ndarray:
        """Return the updates after which all tasks seen so far are evaluated."""
        return self._due(num_tasks, self.seen_every)

    def is_due(self, update: Any, task_start: Any, task_end: Any, every: int) -> Any:
        """Whether there is an evaluation after an update (1-based; number, array or tracer).

        Args:
            update: The update.
            task_start: Updates before its task.
            task_end: Number of the last update of its task.
            every: The usual interval between evaluations.
        """
        dense = update <= task_start + self.dense_updates
        return (update % every == 0) | dense | (update == task_end)

    def batch_size_of(self, task: int) -> int:
        """Return the examples per update of a task, counted from 0."""
        return self.batch_size * (task + 1 if self.batch_growth == "linear" else 1)

    def _due(self, num_tasks: int, every: int) -> np.ndarray:
        ends = self.task_ends(num_tasks)
        update = np.arange(1, ends[-1] + 1)
        task = np.searchsorted(ends, update)
        starts = np.concatenate([[0], ends[:-1]])
        return update[self.is_due(update, starts[task], ends[task], every)]


def _each(name: str, values: Iterable[Any]) -> tuple[int, ...]:
    listed = tuple(values)
    if not listed:
        raise ValueError(f"{name} must have a number for each task: got none")
    for value in listed:
        check_integer(f"each of {name}", value, 1)
    return tuple(map(int, listed))
