"""Settings: methods with values for all their hyperparameters, from grids or random draws."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gainjax.checks import check_integer, lookup
from gainjax.curves import Setting
from gainjax.methods import METHODS, Method
from gainjax.runs.benchmark import Benchmark

_MOST_DRAWS = 1000  # rounds; a product of lists is exhausted long before


class Schedule(NamedTuple):
    """A hyperparameter with one value per update."""

    name: str
    values: tuple[float, ...]


Value = float | None | Schedule


def resolve_hyperparameters(
    benchmark: Benchmark,
    methods: Mapping[str, Method],
    overrides: Mapping[str, Any],
    updates: int = 0,
) -> dict[str, dict[str, Value]]:
    """Return every hyperparameter of each method: its default, the benchmark's, the caller's.

    Args:
        benchmark: The benchmark.
        methods: Methods by label.
        overrides: By name for every method that has it, or by label for that method. Numbers; None
            for an optional number; or schedules, functions of the update count from 0.
        updates: Updates of the whole run, for schedules.

    Raises:
        ValueError: If a hyperparameter is unknown, unused or out of range.

    Example:
        >>> from gainjax.methods import as_methods
        >>> from gainjax.runs.benchmarks import get_benchmark
        >>> mnist, methods = get_benchmark("split-mnist"), as_methods(["sgd"])
        >>> resolve_hyperparameters(mnist, methods, {"sgd": {"learning_rate": 0.1}})
        {'sgd': {'learning_rate': 0.1}}
    """
    settings: dict[str, dict[str, Value]] = {}
    _check_names(benchmark, methods)
    for label, given in _by_method(methods, overrides).items():
        values = benchmark.defaults(methods[label], label) | given
        settings[label] = {name: as_value(name, value, updates) for name, value in values.items()}
        _check(methods[label], settings[label])
    return settings


def _check_names(benchmark: Benchmark, methods: Mapping[str, Method]) -> None:
    """Raise if the benchmark gives a value to a hyperparameter that no method has."""
    every = {**METHODS, **{m.name: m for m in methods.values()}, **methods}
    names = {name for method in every.values() for name in method.hyperparameters}
    for name, value in benchmark.hyperparameters.items():
        if not isinstance(value, Mapping):
            lookup(dict.fromkeys(names), f"hyperparameter of benchmark {benchmark.name!r}", name)
            continue
        if name not in every:  # an unregistered method cannot be checked
            continue
        for own in value:
            lookup(every[name].hyperparameters, f"hyperparameter of {name}", own)


def run_settings(
    methods: Mapping[str, Method], values: Mapping[str, Mapping[str, Value]]
) -> list[Setting]:
    """Return one setting per method.

    Args:
        methods: Methods by label.
        values: What :func:`resolve_hyperparameters` returns.
    """
    return [Setting(label, label, m.shown_as(label), values[label]) for label, m in methods.items()]


def check_not_both(fixed: Mapping[str, Any], grid: Mapping[str, Any]) -> None:
    """Raise if a hyperparameter has a fixed value and is varied, so that one would be ignored.

    A value for all methods may be varied for a single method.

    Args:
        fixed: Values by name, or by label for that method.
        grid: What varies, likewise.

    Raises:
        ValueError: If there is such a hyperparameter.
    """
    varied = {name for name, value in grid.items() if not isinstance(value, Mapping)}
    for key, value in fixed.items():
        if not isinstance(value, Mapping):
            both = {key} & varied
        else:
            own = grid.get(key)
            both = set(value) & (varied | set(own if isinstance(own, Mapping) else ()))
        if both:
            name = min(both)
            where = name if key == name else f"{key}.{name}"
            raise ValueError(
                f"{where} is both set (hyperparameters, --set) and varied (grid, --grid): "
                "give only one of them"
            )


def sweep_settings(
    methods: Mapping[str, Method],
    fixed: Mapping[str, Mapping[str, Value]],
    grid: Mapping[str, Any],
    *,
    updates: int = 0,
    draws: int | None = None,
    draw_seed: int = 0,
) -> list[Setting]:
    """Return all settings of a sweep: for each method the full product, or a number of draws.

    Args:
        methods: Methods by label.
        fixed: Values of all hyperparameters by label, as :func:`resolve_hyperparameters` returns.
        grid: What to vary: by name for every method that has it, or by label for that method. A
            list of values or, with ``draws``, also a distribution with a method ``rvs`` such as
            ``scipy.stats.loguniform(1e-4, 1)``.
        updates: Updates of the whole run, for schedules.
        draws: Number of different random draws for each method, or None for the full product.
        draw_seed: Seed of the draws.

    Raises:
        ValueError: If a name or value is invalid, there is nothing to vary, a distribution comes
            without ``draws``, or lists have fewer combinations than ``draws``.

    Example:
        >>> from gainjax.methods import as_methods
        >>> methods = as_methods(["sgd", "msgd"])
        >>> fixed = {label: dict(method.hyperparameters) for label, method in methods.items()}
        >>> grid = {"learning_rate": [0.1, 0.01], "momentum": [0.5, 0.9]}
        >>> for setting in sweep_settings(methods, fixed, grid)[:3]:
        ...     print(setting.label)
        sgd learning_rate=0.1
        sgd learning_rate=0.01
        msgd learning_rate=0.1 momentum=0.5
    """
    if not isinstance(grid, Mapping) or not grid:
        raise ValueError(f"grid must name at least one hyperparameter to vary: got {grid!r}")
    if draws is not None:
        check_integer("draws", draws, 1)
    check_integer("draw_seed", draw_seed, 0)
    settings = []
    for label, given in _by_method(methods, grid).items():
        method = methods[label]
        if draws is None:
            points = list(itertools.product(*(listed(*it, updates) for it in given.items())))
        else:
            points = _drawn(label, given, draws, draw_seed) if given else [()]
        for point in points:
            values = dict(zip(given, point, strict=True))
            _check(method, values)
            settings.append(_setting(label, method, fixed[label], values))
    return _distinct(settings)


def as_value(name: str, value: Any, updates: int) -> Value:
    """Return a plain number, None, or a schedule with its value for each update.

    Args:
        name: Name of the hyperparameter, for messages.
        value: A number (also of JAX or NumPy), None, or a function of the update count from 0.
        updates: Updates of the whole run.

    Raises:
        ValueError: If it is none of these.
    """
    if value is None or isinstance(value, Schedule):
        return value
    if callable(value):
        values = np.asarray([float(value(count)) for count in range(updates)])
        label = getattr(value, "__name__", "schedule")
        label = "schedule" if label in ("<lambda>", "schedule", "wrapped") else label
        return Schedule(label, tuple(values.tolist()))
    if isinstance(value, str | bool) or np.ndim(value) or np.iscomplexobj(value):
        raise ValueError(f"{name} must be a number or a schedule: got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be a number or a schedule: got {value!r}") from error


def listed(name: str, given: Any, updates: int = 0) -> list[Value]:
    """Return the values of a hyperparameter that a grid lists.

    Args:
        name: Name of the hyperparameter, for messages.
        given: A list of values, or a single one.
        updates: Updates of the whole run, for schedules.
    """
    if hasattr(given, "rvs"):
        raise ValueError(f"{name} is a distribution: give draws, the number of settings to try")
    if hasattr(given, "tolist"):  # arrays of NumPy, JAX and pandas
        given = np.asarray(given).ravel().tolist()
    items = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    values = [as_value(name, value, updates) for value in items]
    if not values:
        raise ValueError(f"{name} must have at least one value in the grid: got {given!r}")
    return values


def _setting(
    label: str, method: Method, fixed: Mapping[str, Value], varied: Mapping[str, Value]
) -> Setting:
    words = [label, *(f"{name}={shown(value)}" for name, value in varied.items())]
    return Setting(
        " ".join(words), label, method.shown_as(label), {**fixed, **varied}, tuple(varied)
    )


def shown(value: Value, digits: int = 6) -> str:
    """Return a value as shown in a label."""
    if value is None:
        return "none"
    return value.name if isinstance(value, Schedule) else f"{value:.{digits}g}"


def _distinct(settings: list[Setting]) -> list[Setting]:
    """Return the settings, with more digits where labels would be equal; reject duplicates."""
    by_label: dict[str, list[int]] = {}
    for i, setting in enumerate(settings):
        by_label.setdefault(setting.label, []).append(i)
    for label, places in by_label.items():
        if len(places) == 1:
            continue
        points = [tuple(settings[i].hyperparameters.items()) for i in places]
        if len(set(points)) < len(points):
            raise ValueError(f"grid must give different settings: got {label!r} twice")
        for number, i in enumerate(places):
            row = settings[i]
            exact = [f"{n}={shown(row.hyperparameters[n], 17)}" for n in row.swept]
            schedules = any(isinstance(row.hyperparameters[n], Schedule) for n in row.swept)
            end = f" #{number + 1}" if schedules else ""
            settings[i] = row._replace(label=" ".join([row.method, *exact]) + end)
    return settings


def _random(name: str, distribution: Any, draws: int, rng: np.random.Generator) -> list[float]:
    """Return so many draws of a distribution."""
    values = np.asarray(distribution.rvs(size=draws, random_state=rng))
    if values.shape != (draws,) or values.dtype.kind not in "iuf":
        raise ValueError(
            f"{name} is a distribution whose rvs(size=, random_state=) must return {draws} numbers:"
            f" got {values!r}"
        )
    return [float(value) for value in values]


def _drawn(label: str, given: Mapping[str, Any], draws: int, seed: int) -> list[tuple[Any, ...]]:
    """Return a number of different points of a method, drawn from lists and distributions."""
    lists = {name: listed(name, v) for name, v in given.items() if not hasattr(v, "rvs")}
    if len(lists) == len(given) and draws > (
        most := math.prod(len(set(v)) for v in lists.values())
    ):
        raise ValueError(
            f"draws must be at most {most}, the number of combinations for {label}: got {draws}"
        )
    # Random numbers depend on the name, so that methods share draws of hyperparameters they share.
    rngs = {name: np.random.default_rng([seed, *name.encode()]) for name in given}
    points: dict[tuple[Any, ...], None] = {}
    for _ in range(_MOST_DRAWS):
        columns = [
            _random(name, v, draws, rngs[name])
            if hasattr(v, "rvs")
            else [lists[name][i] for i in rngs[name].integers(len(lists[name]), size=draws)]
            for name, v in given.items()
        ]
        points |= dict.fromkeys(zip(*columns, strict=True))
        if len(points) >= draws:
            return list(points)[:draws]
    raise ValueError(
        f"the distributions of {', '.join(given)} must give {draws} different settings for {label}:"
        f" found only {len(points)}; reduce draws"
    )


def _check(method: Method, values: Mapping[str, Value]) -> None:
    method.check({k: v.values if isinstance(v, Schedule) else v for k, v in values.items()})


def _by_method(
    methods: Mapping[str, Method], given: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the values for each method: shared ones that it has, then its own."""
    if not isinstance(given, Mapping):
        raise ValueError(f"hyperparameters must be a mapping of names to values: got {given!r}")
    shared = {k: v for k, v in given.items() if not isinstance(v, Mapping)}
    own = {k: v for k, v in given.items() if isinstance(v, Mapping)}
    if unknown := set(own) - set(methods):
        raise ValueError(
            f"hyperparameters are given for {', '.join(sorted(map(str, unknown)))}, which is not "
            f"among the methods: {', '.join(methods)}"
        )
    has = {label: method.hyperparameters for label, method in methods.items()}
    known = sorted({k for names in has.values() for k in names})
    for name in shared:
        if name not in known:
            raise ValueError(
                f"no method has a hyperparameter {name!r}; known: {', '.join(known) or 'none'}"
            )
    for label, values in own.items():
        for name in values:
            if name not in has[label]:
                raise ValueError(
                    f"{label} has no hyperparameter {name!r}: it has "
                    f"{', '.join(has[label]) or 'none'}"
                )
    return {
        label: {k: v for k, v in shared.items() if k in names} | dict(own.get(label, {}))
        for label, names in has.items()
    }
