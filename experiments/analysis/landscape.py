"""What does the loss look like between the weights before, during and after a switch?

    python -m experiments landscape --data-dir DIR

Snapshots around the first switch: the test losses of both tasks along the straight lines from the
weights before the switch to those 20 updates after it, from there to those at the end of task 2,
and directly from the first to the last; the plane through the three for the first seed; and the
largest eigenvalue of the Hessian at each. All in effective weights. The results are described in
``drop.md``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import tyro
import xarray as xr

from experiments.analysis.first_switch import FirstSwitch, first_switch, loss_on
from experiments.lab import Lab
from gainjax import Benchmark, get_gain, get_method
from gainjax.analysis import (
    Plane,
    Subject,
    along_line,
    curvature,
    networks,
    on_plane,
    plot_landscape,
)
from gainjax.statistics import interval_columns

METHODS = ("ngm-sgd", "sgd", "msgd")
DURING = 20  # updates after the switch
NAMES = ("before", "during", "after")
PATHS = {"before-during": (0, 1), "during-after": (1, 2), "before-after": (0, 2)}
LOSSES = ("task 1", "task 2", "both")
_POINTS, _ON_PLANE = 11, 21  # on a line, and along each axis of a plane
_SMOKE_POINTS, _SMOKE_DURING = 3, 2
_EXAMPLES = 1000  # of the training loss whose curvature is taken

Losses = Callable[[Any], jax.Array]  # of parameters, shape (2,): the test loss of each task


class Run(NamedTuple):
    """Snapshots of the first two tasks, and which of them are before, during and after."""

    switch: FirstSwitch
    corners: list[int]

    def params(self, method: str, seed: int) -> list[Any]:
        """Return the effective weights of each snapshot."""
        whole = networks(self.switch.states, "trained")[method].params
        return [jax.tree.map(lambda x, i=i: x[seed, i], whole) for i in range(len(self.switch.at))]

    def gains(self, method: str) -> np.ndarray:
        """Return the gain of each seed and snapshot, 1 for a method without one."""
        if get_method(method).gain is None:
            return np.ones((self.switch.curves.sizes["seed"], len(self.switch.at)))
        return np.asarray(get_gain(self.switch.states[method].opt_state), np.float64)


def landscape(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = ("split-mnist", "rotated-mnist"),
    seeds: int = 3,
) -> None:
    """Look at the loss between the weights before, during and after a switch.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        seeds: Number of seeds.
    """
    lines, paths, points, every = [], [], [], []
    for whole in lab.benchmarks(benchmarks):
        run = _run(lab, whole, seeds)
        every.append(run.switch.curves)
        places = np.linspace(0, 1, _SMOKE_POINTS if lab.smoke else _POINTS)
        losses, weights = _test_losses(run.switch.subject)
        found = _lines(run, losses, weights, places)
        lines.append(_line_rows(found).assign(benchmark=run.switch.name))
        paths.append(_path_rows(run, found).assign(benchmark=run.switch.name))
        points.append(_point_rows(run, found).assign(benchmark=run.switch.name))
        planes = _planes(run, losses, weights, _SMOKE_POINTS if lab.smoke else _ON_PLANE)
        figure = plot_landscape(_way(found), planes, NAMES, direct=_direct(found))
        lab.draw(f"landscape-{run.switch.name}", figure)
        jax.clear_caches()
    lab.write("landscape", pd.concat(lines), every)
    lab.write("landscape-paths", pd.concat(paths), every)
    lab.write("landscape-points", pd.concat(points), every)


def _run(lab: Lab, whole: Benchmark, seeds: int) -> Run:
    found = first_switch(lab, "landscape", whole, METHODS, seeds, to_end=True)
    during = found.at[0] + (_SMOKE_DURING if lab.smoke else DURING)
    return Run(found, [0, found.at.index(during), len(found.at) - 1])


def _test_losses(subject: Subject) -> tuple[Losses, np.ndarray]:
    """Return the test losses of both tasks, and what each weighs in the loss on both test sets."""
    tests = [subject.test(task) for task in range(2)]
    each = [loss_on(subject, test) for test in tests]

    def losses(params: Any) -> jax.Array:
        return jnp.stack([loss(params) for loss in each])

    sizes = np.array([len(test.targets) for test in tests], float)
    return losses, sizes / sizes.sum()


def _lines(run: Run, losses: Losses, weights: np.ndarray, places: np.ndarray) -> xr.DataArray:
    """Return the losses over (setting, path, seed, s, loss)."""
    seeds = run.switch.curves.sizes["seed"]
    found = np.empty((len(METHODS), len(PATHS), seeds, len(places), len(LOSSES)))
    for i, method in enumerate(METHODS):
        for seed in range(seeds):
            every = run.params(method, seed)
            for j, (start, end) in enumerate(PATHS.values()):
                at_start, at_end = (every[run.corners[corner]] for corner in (start, end))
                of_tasks = along_line(losses, at_start, at_end, places.tolist())
                found[i, j, seed] = np.column_stack([of_tasks, of_tasks @ weights])
    at = {"setting": list(METHODS), "path": list(PATHS), "s": places, "loss": list(LOSSES)}
    return xr.DataArray(found, at, ("setting", "path", "seed", "s", "loss"))


def _way(found: xr.DataArray) -> xr.DataArray:
    """Return the losses on the way from before via during to after."""
    first, second = (found.sel(path=path, drop=True) for path in list(PATHS)[:2])
    second = second.isel(s=slice(1, None))
    whole = xr.concat([first, second.assign_coords(s=second["s"] + 1)], "s")
    return whole.rename(s="place")


def _direct(found: xr.DataArray) -> xr.DataArray:
    """Return the losses on the straight line from before to after."""
    return found.sel(path="before-after", drop=True).rename(s="place")


def _weighted(losses: Losses, weights: np.ndarray, params: Any) -> jax.Array:
    return losses(params) @ weights


def _planes(
    run: Run, losses: Losses, weights: np.ndarray, points: int
) -> dict[str, dict[str, Plane]]:
    """Return the planes of the first seed: the loss of task 1, and that of both."""
    shares = {"loss of task 1": np.array([1.0, 0.0]), "loss of both": weights}
    planes: dict[str, dict[str, Plane]] = {}
    for method in METHODS:
        every = run.params(method, 0)
        corners = [every[corner] for corner in run.corners]
        planes[method] = {
            title: on_plane(partial(_weighted, losses, share), corners, others=every, points=points)
            for title, share in shares.items()
        }
    return planes


def _line_rows(found: xr.DataArray) -> pd.DataFrame:
    """Return mean losses with their intervals, a row for each point of each line."""
    return pd.DataFrame(
        {"method": method, "path": path, "s": s}
        | _with_intervals({
            loss: found.sel(setting=method, path=path, s=s, loss=loss).values for loss in LOSSES
        })
        for method in METHODS for path in PATHS for s in found["s"].values.tolist()
    )  # fmt: skip


def _path_rows(run: Run, found: xr.DataArray) -> pd.DataFrame:
    """Return the length of each line and the rise of the losses on it above the higher end.

    Also the rise of the loss of task 1 on the path of the run itself.
    """
    rows = []
    of_run = run.switch.curves["eval_loss"].sel(eval_task=1)
    for method in METHODS:
        every = [run.params(method, seed) for seed in range(run.switch.curves.sizes["seed"])]
        for path, ends in PATHS.items():
            start, end = (run.corners[corner] for corner in ends)
            lengths = [_distance(own[start], own[end]) for own in every]
            own = found.sel(setting=method, path=path)
            barrier = own.max("s") - own.isel(s=[0, -1]).max("s")
            taken = of_run.sel(
                setting=method, eval_update=slice(run.switch.at[start], run.switch.at[end])
            )
            higher = taken.isel(eval_update=[0, -1]).max("eval_update")
            measured = {
                "distance": lengths,
                **{f"barrier {name}": barrier.sel(loss=name).values for name in LOSSES},
                "run barrier task 1": (taken.max("eval_update") - higher).values,
            }
            rows.append({"method": method, "path": path} | _with_intervals(measured))
    return pd.DataFrame(rows)


def _point_rows(run: Run, found: xr.DataArray) -> pd.DataFrame:
    """Return losses, gain and curvature before, during and after the switch.

    All weights of these networks are modulated, so in raw coordinates an eigenvalue is larger by
    the squared gain.
    """
    loss = loss_on(run.switch.subject, run.switch.subject.train(range(2), _EXAMPLES))
    rows = []
    ends = (("before-during", 0), ("before-during", -1), ("during-after", -1))
    for method in METHODS:
        every = [run.params(method, seed) for seed in range(run.switch.curves.sizes["seed"])]
        for name, corner, (path, s) in zip(NAMES, run.corners, ends, strict=True):
            own = found.sel(setting=method, path=path).isel(s=s)
            bends = [curvature(loss, each[corner], samples=2).eigenvalues[0] for each in every]
            gain = run.gains(method)[:, corner]
            measured = {title: own.sel(loss=title).values for title in LOSSES} | {
                "gain": gain,
                "eigenvalue": bends,
                "raw_eigenvalue": gain**2 * np.array(bends),
            }
            row = {
                "method": method,
                "point": name,
                "since": run.switch.at[corner] - run.switch.at[0],
            }
            rows.append(row | _with_intervals(measured))
    return pd.DataFrame(rows)


def _distance(start: Any, end: Any) -> float:
    squares = jax.tree.map(lambda a, b: np.square(np.asarray(a) - np.asarray(b)).sum(), start, end)
    return float(np.sqrt(sum(jax.tree.leaves(squares))))


def _with_intervals(measured: Mapping[str, Any]) -> dict[str, float]:
    row: dict[str, float] = {}
    for name, values in measured.items():
        row |= interval_columns(name.replace(" ", "_"), values)
    return row
