"""How a stream is trained on and evaluated."""

import dataclasses
from typing import Any, Literal, get_args

from gainjax.checks import check_integer
from gainjax.training.sampling import Buffer, Regime

_OF_EVALUATION = ("eval_every", "eval_tasks", "seen_every", "eval_batch_size")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a stream is trained on and evaluated.

    Args:
        updates_per_task: Updates on each task, >= 1.
        batch_size: Examples per update, >= 1, drawn with replacement.
        batch_growth: Whether task k has batches of that size ("constant") or of k times that size
            ("linear"), so that each task so far has its share.
        eval_every: Evaluate after each update whose number it divides, and at the end of each task.
        eval_tasks: Evaluate the test set of the first task, or those of all tasks.
        seen_every: Measure accuracy on all tasks seen so far after each update whose number it
            divides, and at the end of each task.
        eval_batch_size: Test images per forward pass, or None for a whole test set at once.
        regime: What later tasks train on: "joint", all images so far; "replay", half new images and
            half from a bounded memory; "fine-tuning", new images only.
        buffer: Memory of the replay: "reservoir" (uniform over the past) or "balanced" by class.
        buffer_size: Images that the memory of the replay holds, >= 1.

    Raises:
        ValueError: If a number is no integer or below 1, a word is none of those above, or batches
            are too small for a replay.
    """

    updates_per_task: int
    batch_size: int
    batch_growth: Literal["constant", "linear"] = "constant"
    eval_every: int = 1
    eval_tasks: Literal["first", "all"] = "first"
    seen_every: int = 10
    eval_batch_size: int | None = None
    regime: Regime = "joint"
    buffer: Buffer = "reservoir"
    buffer_size: int = 500

    def __post_init__(self) -> None:
        choices = {
            "batch_growth": ("constant", "linear"),
            "eval_tasks": ("first", "all"),
            "regime": get_args(Regime),
            "buffer": get_args(Buffer),
        }
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in choices:
                if value not in choices[field.name]:
                    wanted = " or ".join(map(repr, choices[field.name]))
                    raise ValueError(f"{field.name} must be {wanted}: got {value!r}")
            elif value is not None or field.name != "eval_batch_size":
                check_integer(field.name, value, 1)
                object.__setattr__(self, field.name, int(value))  # JSON knows no NumPy
        if self.regime == "replay" and self.batch_size < 2:
            raise ValueError(
                f"batch_size must be at least 2 for a replay, half old and half new: got "
                f"{self.batch_size}"
            )

    @property
    def training(self) -> dict[str, Any]:
        """The fields that training depends on; the others are about evaluation."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in _OF_EVALUATION}

    def batch_size_of(self, task: int) -> int:
        """Return the examples per update of a task, counted from 0."""
        return self.batch_size * (task + 1 if self.batch_growth == "linear" else 1)

    def is_evaluated(self, update: Any, every: int) -> Any:
        """Whether there is an evaluation after an update (1-based; a number, array or tracer)."""
        return (update % every == 0) | (update % self.updates_per_task == 0)
