"""Settings: a method with values for all its hyper-parameters; grids and draws of them."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gainjax.checks import check_integer
from gainjax.methods import get_method
from gainjax.runs.benchmarks import Benchmark

_MOST_DRAWS = 1000  # rounds; a product of lists is complete long before


class Setting(NamedTuple):
    """What one row of results is about.

    Attributes:
        method: Name of the method.
        hyperparameters: Values of all its hyper-parameters.
        swept: Names of those that vary in a sweep.
    """

    method: str
    hyperparameters: Mapping[str, float]
    swept: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The method with what varies: the name of the row."""
        varied = (f"{name}={self.hyperparameters[name]:.6g}" for name in self.swept)
        return " ".join([self.method, *varied])


def resolve_hyperparameters(
    benchmark: Benchmark, methods: Sequence[str], overrides: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Return every hyper-parameter of each method: its default, the benchmark's, the caller's.

    Args:
        benchmark: The benchmark.
        methods: Names of methods, each once.
        overrides: By name for every method that has it, or by method's name for that method.

    Raises:
        ValueError: If a method or hyper-parameter is unknown, unused, repeated or out of range.

    Example:
        >>> from gainjax.runs.benchmarks import get_benchmark
        >>> mnist = get_benchmark("split-mnist")
        >>> resolve_hyperparameters(mnist, ["sgd"], {"sgd": {"learning_rate": 0.1}})
        {'sgd': {'learning_rate': 0.1}}
    """
    _check_methods(methods)
    settings = {}
    for name, values in _by_method(methods, overrides).items():
        values = {key: _number(key, value) for key, value in values.items()}
        settings[name] = benchmark.defaults(name) | values
        get_method(name).check(settings[name])
    return settings


def sweep_settings(
    benchmark: Benchmark,
    methods: Sequence[str],
    grid: Mapping[str, Any],
    overrides: Mapping[str, Any],
    draws: int | None = None,
    draw_seed: int = 0,
) -> list[Setting]:
    """Return all settings of a sweep, for each method the whole product or so many draws.

    Args:
        benchmark: The benchmark.
        methods: Names of methods, each once.
        grid: What to vary: by name for every method that has it, or by method's name for that
            method. A list of values or, with ``draws``, also a distribution with a method ``rvs``
            such as ``scipy.stats.loguniform(1e-4, 1)``.
        overrides: Fixed values, as for :func:`resolve_hyperparameters`.
        draws: Number of different random draws for each method, or None for the product of all
            lists.
        draw_seed: Seed of the draws.

    Raises:
        ValueError: If a name or value is wrong, there is nothing to vary, a distribution comes
            without ``draws``, or lists have fewer combinations than there shall be draws.

    Example:
        >>> from gainjax.runs.benchmarks import get_benchmark
        >>> grid = {"learning_rate": [0.1, 0.01], "momentum": [0.5, 0.9]}
        >>> settings = sweep_settings(get_benchmark("split-digits"), ["sgd", "msgd"], grid, {})
        >>> for setting in settings[:3]:
        ...     print(setting.label)
        sgd learning_rate=0.1
        sgd learning_rate=0.01
        msgd learning_rate=0.1 momentum=0.5
    """
    fixed = resolve_hyperparameters(benchmark, methods, overrides)
    if not grid:
        raise ValueError("grid must name at least one hyper-parameter to vary: got nothing")
    if draws is not None:
        check_integer("draws", draws, 1)
    check_integer("draw_seed", draw_seed, 0)
    settings = []
    for method, given in _by_method(methods, grid).items():
        if draws is None:
            points = list(itertools.product(*(_listed(*item) for item in given.items())))
        else:
            points = _drawn(method, given, draws, draw_seed) if given else [()]
        for point in points:
            values = dict(zip(given, point, strict=True))
            get_method(method).check(values)
            settings.append(Setting(method, fixed[method] | values, tuple(given)))
    labels = [setting.label for setting in settings]
    if repeated := [label for label in labels if labels.count(label) > 1]:
        raise ValueError(f"grid must give different settings: got {repeated[0]!r} twice")
    return settings


def _number(name: str, value: Any) -> float:
    # Of JAX and NumPy, too; a plain number is what a configuration can hold.
    if isinstance(value, str) or np.ndim(value) or value is None:
        raise ValueError(f"{name} must be a number: got {value!r}")
    return float(value)


def _listed(name: str, given: Any) -> list[float]:
    """Return the values of a hyper-parameter that a grid lists."""
    if hasattr(given, "rvs"):
        raise ValueError(f"{name} is a distribution: give draws, the number of settings to try")
    values = [float(value) for value in np.atleast_1d(np.asarray(given, float))]
    if not values:
        raise ValueError(f"{name} must have at least one value in the grid: got {given!r}")
    return values


def _drawn(method: str, given: Mapping[str, Any], draws: int, seed: int) -> list[tuple[float, ...]]:
    """Return so many different points of a method, drawn from lists and distributions."""
    lists = [_listed(name, v) for name, v in given.items() if not hasattr(v, "rvs")]
    if len(lists) == len(given) and draws > (most := math.prod(len(set(v)) for v in lists)):
        raise ValueError(
            f"draws must be at most {most}, all that the grid has for {method}: got {draws}"
        )
    # Random numbers that belong to the name, so that methods share the draws of what they share.
    rngs = {name: np.random.default_rng([seed, *name.encode()]) for name in given}
    points: dict[tuple[float, ...], None] = {}
    for _ in range(_MOST_DRAWS):
        columns = [
            v.rvs(size=draws, random_state=rngs[name])
            if hasattr(v, "rvs")
            else rngs[name].choice(_listed(name, v), draws)
            for name, v in given.items()
        ]
        points |= dict.fromkeys(zip(*(map(float, column) for column in columns), strict=True))
        if len(points) >= draws:
            return list(points)[:draws]
    raise ValueError(
        f"draws must be at most what the distributions of {', '.join(given)} can give for {method}:"
        f" got {draws}, and found {len(points)} different settings"
    )


def _by_method(methods: Sequence[str], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what each method is given: what all are given that it has, then its own."""
    shared = {k: v for k, v in given.items() if not isinstance(v, Mapping)}
    own = {k: v for k, v in given.items() if isinstance(v, Mapping)}
    if unknown := set(own) - set(methods):
        raise ValueError(
            f"hyperparameters are given for {', '.join(sorted(unknown))}, which is not among the "
            f"methods: {', '.join(methods)}"
        )
    has = {name: get_method(name).hyperparameters for name in methods}
    known = sorted({k for names in has.values() for k in names})
    for name in shared:
        if name not in known:
            raise ValueError(
                f"no method has a hyper-parameter {name!r}: there are {', '.join(known)}"
            )
    for method, values in own.items():
        for name in values:
            if name not in has[method]:
                raise ValueError(
                    f"{method} has no hyper-parameter {name!r}: it has {', '.join(has[method])}"
                )
    return {
        method: {k: v for k, v in shared.items() if k in names} | dict(own.get(method, {}))
        for method, names in has.items()
    }


def _check_methods(methods: Sequence[str]) -> None:
    if isinstance(methods, str) or not methods or len(set(methods)) < len(methods):
        raise ValueError(f"methods must be a list of different names: got {methods!r}")
