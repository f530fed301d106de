"""The built-in metrics, in the order of their columns."""

from collections.abc import Callable

from jaxtyping import Float
from numpy.typing import ArrayLike

from gainjax.metrics.all_tasks import (
    de_lange_accuracy,
    de_lange_min_accuracy,
    de_lange_worst_case_accuracy,
    windowed_forgetting,
    windowed_plasticity,
)
from gainjax.metrics.curves import Numbers
from gainjax.metrics.first_task import (
    average_accuracy,
    average_min_accuracy,
    average_stability_gap,
    worst_case_accuracy,
)
from gainjax.metrics.recovery import SUSTAINED, recovery_updates, updates_to_minimum
from gainjax.metrics.registry import METRICS, register_metric
from gainjax.metrics.seen_tasks import anytime_accuracy, final_accuracy

__all__ = ["ACCURACY", "GAP", "METRICS"]

# A small gap is worth little without accuracy: rankings, frontiers and pages weigh these two.
GAP = "avg_sg"
ACCURACY = "anytime_accuracy"

OneEach = Float[Numbers, "*runs"]
_FIRST = ("first_accuracy", "eval_updates", "task_ends")
_ALL = ("accuracy", "eval_updates", "task_ends")
_RODRIGUEZ_GARCIA = {"convention": "rodriguez-garcia"}
_DE_LANGE = {"convention": "de-lange"}


def _mean_updates(sustained: int) -> Callable[..., OneEach]:
    def updates(accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike) -> OneEach:
        return recovery_updates(accuracy, eval_updates, task_ends, sustained).updates.mean(axis=-1)

    return updates


def _mean_updates_to_minimum(*curves: ArrayLike) -> OneEach:
    return updates_to_minimum(*curves).mean(axis=-1)


def _recovered(sustained: int) -> Callable[..., OneEach]:
    def share(accuracy: ArrayLike, eval_updates: ArrayLike, task_ends: ArrayLike) -> OneEach:
        found = recovery_updates(accuracy, eval_updates, task_ends, sustained)
        return found.recovered.mean(axis=-1)

    return share


def _de_lange_worst_case_at_end(*curves: ArrayLike) -> OneEach:
    return de_lange_worst_case_accuracy(*curves)[..., -1]


def _windowed(function: Callable[..., OneEach]) -> Callable[..., OneEach]:
    def with_default(*curves: ArrayLike, window: int = 10) -> OneEach:
        return function(*curves, window)

    return with_default


register_metric(
    GAP,
    average_stability_gap,
    _FIRST,
    "avg-SG",
    "stability gap: relative drop after a switch, mean over switches",
    unit="fraction",
    better="lower",
    label="stability gap, avg-SG",
    compared=True,
    **_RODRIGUEZ_GARCIA,
)
register_metric(
    "min_acc",
    average_min_accuracy,
    _FIRST,
    "min-ACC",
    "lowest accuracy in each task but the last, mean",
    unit="percent",
    better="higher",
    options=("version",),
    compared=True,
    **_RODRIGUEZ_GARCIA,
)
register_metric(
    "wc_acc",
    worst_case_accuracy,
    _FIRST,
    "WC-ACC",
    "worst case: min-ACC combined with the last accuracy",
    unit="percent",
    better="higher",
    options=("version",),
    **_RODRIGUEZ_GARCIA,
)
register_metric(
    "avg_acc",
    average_accuracy,
    _FIRST,
    "avg-ACC",
    "accuracy at the ends of tasks, mean",
    unit="percent",
    better="higher",
    **_RODRIGUEZ_GARCIA,
)
register_metric(
    "lowest_at",
    _mean_updates_to_minimum,
    _FIRST,
    "lowest at",
    "updates from a switch to the lowest accuracy, mean over switches",
    unit="updates",
    shown=False,
    **_RODRIGUEZ_GARCIA,
)
register_metric(
    "recovery",
    _mean_updates(1),
    _FIRST,
    "recovery",
    "updates until accuracy is back for the first time; ≥ if not always within the task",
    unit="updates",
    better="lower",
    bound="recovered",
    **_RODRIGUEZ_GARCIA,
)
register_metric(
    "recovered",
    _recovered(1),
    _FIRST,
    "recovered",
    "fraction of switches after which accuracy came back",
    unit="fraction",
    better="higher",
    shown=False,
    when_diverged=0.0,
    **_RODRIGUEZ_GARCIA,
)
register_metric(
    "sustained_recovery",
    _mean_updates(SUSTAINED),
    _FIRST,
    f"back for {SUSTAINED}",
    f"updates until accuracy is back for {SUSTAINED} evaluations in a row",
    unit="updates",
    better="lower",
    bound="sustained",
    shown=False,
    **_RODRIGUEZ_GARCIA,
)
register_metric(
    "sustained",
    _recovered(SUSTAINED),
    _FIRST,
    f"stayed for {SUSTAINED}",
    f"fraction of switches after which accuracy came back for {SUSTAINED} evaluations in a row",
    unit="fraction",
    better="higher",
    shown=False,
    when_diverged=0.0,
    **_RODRIGUEZ_GARCIA,
)
register_metric(
    "de_lange_acc",
    de_lange_accuracy,
    _ALL,
    "ACC",
    "accuracy at the end, mean over tasks",
    unit="percent",
    better="higher",
    compared=True,
    **_DE_LANGE,
)
register_metric(
    "de_lange_min_acc",
    de_lange_min_accuracy,
    _ALL,
    "min-ACC",
    "lowest accuracy since a task ended, mean over earlier tasks",
    unit="percent",
    better="higher",
    compared=True,
    **_DE_LANGE,
)
register_metric(
    "de_lange_wc_acc",
    _de_lange_worst_case_at_end,
    _ALL,
    "WC-ACC",
    "worst case: min-ACC combined with the accuracy on the last task",
    unit="percent",
    better="higher",
    **_DE_LANGE,
)
register_metric(
    "windowed_forgetting",
    _windowed(windowed_forgetting),
    _ALL,
    "WF10",
    "largest drop within 10 evaluations, mean over tasks",
    unit="points",
    better="lower",
    options=("window",),
    compared=True,
    **_DE_LANGE,
)
register_metric(
    "windowed_plasticity",
    _windowed(windowed_plasticity),
    _ALL,
    "WP10",
    "largest rise within 10 evaluations (a run records none before update 1), mean over tasks",
    unit="points",
    better="higher",
    options=("window",),
    **_DE_LANGE,
)
register_metric(
    ACCURACY,
    anytime_accuracy,
    ("seen_accuracy", "seen_updates", "task_ends"),
    "anytime",
    "accuracy on all tasks seen so far, mean over updates",
    unit="percent",
    better="higher",
    label="anytime accuracy",
    compared=True,
)
register_metric(
    "final_accuracy",
    final_accuracy,
    ("seen_accuracy",),
    "final",
    "accuracy on all tasks at the end",
    unit="percent",
    better="higher",
    label="final accuracy",
    compared=True,
)
