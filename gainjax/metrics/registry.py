"""The registry of metrics: tables, files and figures are derived from its entries."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy as np

Convention = Literal["rodriguez-garcia", "de-lange"]
Unit = Literal["fraction", "percent", "points", "updates", "number"]
Better = Literal["higher", "lower"]

_LARGE = 1e6  # larger values are shown as powers of ten
# Arrays that a metric may need; leading axes are settings and seeds.
INPUTS = (
    "first_accuracy",  # task 1, (..., n)
    "accuracy",  # all tasks, (..., n, K)
    "eval_loss",  # the evaluated tasks, (..., n, 1 or K)
    "eval_updates",  # (n,)
    "task_ends",  # (K,)
    "seen_accuracy",  # (..., m)
    "seen_updates",  # (m,)
    "train_loss",  # (..., updates)
    "uncertainty",  # (..., updates)
    "gain",  # (..., updates)
)


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number that is reported for each setting and seed.

    Args:
        name: Its name in tables, an identifier such as ``"avg_sg"``.
        function: Called with the arrays named in ``needs``, in that order. It keeps their leading
            axes and returns an array of these.
        needs: Names from :data:`INPUTS`. The metric is omitted if one was not recorded.
        title: Heading of its column.
        meaning: One-phrase definition, without the unit.
        unit: How it is shown: a "fraction" as it is; "percent" and "points" times 100, "updates"
            without decimals, a "number" with four digits.
        better: Whether "higher" or "lower" values are better, or None.
        convention: The convention whose tables show it, or None for every table.
        label: Its name in figures; the title if empty.
        shown: Whether printed tables include it; files and data frames always do.
        compared: Whether comparisons and rankings include it.
        options: The arguments among ``version`` and ``window`` of
            :func:`gainjax.metrics.summarize` that are passed on to ``function``.
        when_diverged: Value for a seed that diverged, or None for what its curves give.
        bound: Name of a metric with the fraction of cases in which this one is exact; with
            less than 1 it is a lower bound.
    """

    name: str
    function: Callable[..., Any]
    needs: tuple[str, ...]
    title: str
    meaning: str
    unit: Unit = "number"
    better: Better | None = None
    convention: Convention | None = None
    label: str = ""
    shown: bool = True
    compared: bool = False
    options: tuple[str, ...] = ()
    when_diverged: float | None = None
    bound: str | None = None

    def __call__(self, inputs: Mapping[str, np.ndarray], **options: Any) -> np.ndarray | None:
        """Return the values, one per row, or None if a required input is missing.

        Args:
            inputs: Arrays by name.
            **options: Options that differ from the defaults of the function.

        Raises:
            ValueError: If the function does not keep the leading axes.
        """
        if not all(name in inputs for name in self.needs):
            return None
        given = {name: value for name, value in options.items() if name in self.options}
        values = np.asarray(self.function(*(inputs[name] for name in self.needs), **given))
        if values.shape != (rows := inputs["first_accuracy"].shape[:-1]):
            raise ValueError(
                f"the metric {self.name} must return one number for each row, shape {rows}: got "
                f"shape {values.shape}"
            )
        return values

    def show(self, value: float, digits: int = 1, *, score: str = "accuracy") -> str:
        """Return a value as text, "–" if it is unknown.

        Args:
            value: The value.
            digits: Decimal digits of a percentage.
            score: Name of the score; only accuracies are shown as percentages.
        """
        if np.isnan(value):
            return "–"
        if abs(value) >= _LARGE:
            return f"{value:.3g}"
        if self.unit == "updates":
            return f"{value:.0f}"
        if self.unit == "number":
            return f"{value:.4g}"
        if self.unit == "fraction" or score != "accuracy":
            return f"{round(value, digits + 2) + 0.0:.{digits + 2}f}"  # no "-0.0"
        return f"{round(100 * value, digits) + 0.0:.{digits}f}"

    def explained(self, score: str = "accuracy") -> str:
        """Return the definition, with its unit.

        Args:
            score: Name of the score.
        """
        if score != "accuracy":
            return self.meaning.replace("accuracy", score)
        return self.meaning + {"percent": ", %", "points": ", points"}.get(self.unit, "")


OPTIONS = ("version", "window")  # of summarize
METRICS: dict[str, Metric] = {}


def of_convention(convention: Convention | None) -> dict[str, Metric]:
    """Return the metrics of a convention and those of none, by name.

    Args:
        convention: The convention, or None for all metrics.

    Raises:
        ValueError: If it is unknown.
    """
    if convention is not None and convention not in get_args(Convention):
        raise ValueError(
            f"convention must be one of {get_args(Convention)} or None: got {convention!r}"
        )
    return {
        name: metric
        for name, metric in METRICS.items()
        if convention is None or metric.convention in (None, convention)
    }


def register_metric(
    name: str,
    function: Callable[..., Any],
    needs: tuple[str, ...],
    title: str,
    meaning: str,
    **how: Any,
) -> Metric:
    """Add a metric to all reports of curves: data frames, tables, files and figures.

    Args:
        name: A new name, a valid Python identifier.
        function: Called with the arrays named in ``needs``; keeps their leading axes.
        needs: The inputs of the function, names from :data:`gainjax.metrics.INPUTS`.
        title: Heading of its column.
        meaning: One-phrase definition.
        **how: Further fields of :class:`gainjax.metrics.Metric`, such as ``unit`` and ``better``.

    Returns:
        The metric.

    Raises:
        ValueError: If the name is taken or not an identifier, or a field is unknown or invalid.

    Example:
        >>> def lowest(accuracy):
        ...     return accuracy.min(axis=-1)
        >>> metric = register_metric(
        ...     "lowest", lowest, ("first_accuracy",), "lowest", "lowest accuracy", unit="percent"
        ... )
        >>> metric.show(0.125)
        '12.5'
        >>> del METRICS["lowest"]
    """
    fields = {field.name for field in dataclasses.fields(Metric)}
    if unknown := sorted(set(how) - fields):
        raise ValueError(f"a metric has no field {unknown[0]!r}; it has {', '.join(fields)}")
    if not str(name).isidentifier() or name in METRICS:
        raise ValueError(f"name must be a new identifier: got {name!r}")
    if isinstance(needs, str) or not needs or (set(needs) - set(INPUTS)):
        raise ValueError(f"needs must be a tuple of names among {', '.join(INPUTS)}: got {needs!r}")
    metric = Metric(name, function, tuple(needs), title, meaning, **how)
    if isinstance(metric.options, str) or (set(metric.options) - set(OPTIONS)):
        raise ValueError(
            f"options must be a tuple of names among {', '.join(OPTIONS)}: got {metric.options!r}; "
            "other arguments can be bound with functools.partial"
        )
    choices = {"unit": Unit, "better": Better, "convention": Convention}
    for field, kind in choices.items():
        value, allowed = getattr(metric, field), get_args(kind)
        if value not in allowed and (value is not None or field == "unit"):
            raise ValueError(f"{field} must be one of {allowed}: got {value!r}")
    METRICS[name] = metric
    return metric
