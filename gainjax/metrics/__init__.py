r"""The stability gap in numbers: published metrics as pure functions of accuracy curves.

Only NumPy is needed, so the curves may come from any framework. A curve holds the accuracy on one
task after each evaluated update, ``accuracy[..., n]``; curves of all tasks are
``accuracy[..., n, i]``. Leading axes (methods, settings, seeds) are kept, and every row is measured
separately. Results have the unit of the curves, fractions or percent.

``eval_updates`` holds the 1-based numbers of the evaluated updates and ``task_ends`` the last
updates of the tasks, :math:`t_1 < \cdots < t_K`. Each end must have been evaluated, the last one
last, so evaluating less often only makes "all updates of task k" a sparser set. An evaluation
before the first update is update 0; only windowed forgetting and plasticity count it.

Accuracy may be replaced by any score with finite values for which higher is better.

The metrics are listed by name in :data:`METRICS`, which :func:`register_metric` extends: tables,
files and figures show all of them. Rankings and frontiers weigh two of them against each other,
:data:`GAP` and :data:`ACCURACY`.

Two conventions are in use. Rodriguez-Garcia et al. consider task 1 and the minimum within each
task. De Lange et al. consider all tasks and the minimum since a task ended; their metrics are the
``de_lange_*`` and the ``windowed_*`` functions.
"""

from gainjax.metrics.all_tasks import (
    de_lange_accuracy,
    de_lange_min_accuracy,
    de_lange_worst_case_accuracy,
    windowed_forgetting,
    windowed_plasticity,
)
from gainjax.metrics.entries import ACCURACY, GAP, METRICS
from gainjax.metrics.first_task import (
    Version,
    average_accuracy,
    average_min_accuracy,
    average_stability_gap,
    stability_gap,
    worst_case_accuracy,
)
from gainjax.metrics.mean_curve import Estimate, mean_curve_metrics
from gainjax.metrics.recovery import Recovery, recovery_updates, updates_to_minimum
from gainjax.metrics.registry import INPUTS, Convention, Metric, register_metric
from gainjax.metrics.seen_tasks import anytime_accuracy, final_accuracy
from gainjax.metrics.summary import evaluate, summarize

__all__ = [
    "ACCURACY",
    "GAP",
    "INPUTS",
    "METRICS",
    "Convention",
    "Estimate",
    "Metric",
    "Recovery",
    "Version",
    "anytime_accuracy",
    "average_accuracy",
    "average_min_accuracy",
    "average_stability_gap",
    "de_lange_accuracy",
    "de_lange_min_accuracy",
    "de_lange_worst_case_accuracy",
    "evaluate",
    "final_accuracy",
    "mean_curve_metrics",
    "recovery_updates",
    "register_metric",
    "stability_gap",
    "summarize",
    "updates_to_minimum",
    "windowed_forgetting",
    "windowed_plasticity",
    "worst_case_accuracy",
]
