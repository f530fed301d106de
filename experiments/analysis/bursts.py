"""What does the gain do at a switch, and where does it settle?

    python -m experiments bursts --data-dir DIR

From the curves of NGM-SGD alone: how high, how soon and how long the gain bursts after a switch;
whether its recorded decay is the one it ran with; its tonic level in each task, the number of
classes and the fixed point for the uncertainty; the share of the fast part of the weights. From the
networks: their uncertainty on test images in the end, and whether the raised gain itself
lowers the test loss some updates after the first switch. And the toy models. The results are
described in ``bursts.md``.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import tyro
import xarray as xr
from matplotlib.figure import Figure

import gainjax.analysis as analysis
from experiments.lab import Lab, first_tasks
from gainjax import Benchmark, get_gain
from gainjax.statistics import interval_columns, mean_interval
from gainjax.training import TrainState

METHOD = "ngm-sgd"
AFTER = (1, 3, 10, 30, 100)  # updates after the first switch


def bursts(
    lab: Annotated[Lab, tyro.conf.arg(name="")],
    benchmarks: tuple[str, ...] = ("split-mnist", "rotated-mnist", "permuted-mnist"),
    seeds: int = 5,
    margin: float = 0.1,
) -> None:
    """Measure the bursts and the tonic level of NGM-SGD's gain.

    Args:
        lab: Folders and options.
        benchmarks: Benchmarks to run.
        seeds: Number of seeds.
        margin: Relative change of the tonic level over the stream that counts as flat.
    """
    runs, classes, layers = {}, {}, {}
    boundary: list[pd.DataFrame] = []
    in_the_end: list[dict[str, Any]] = []
    more: list[xr.Dataset] = []
    for benchmark in lab.benchmarks(benchmarks):
        name = benchmark.name
        runs[name], states = lab.run(
            f"bursts/{name}", benchmark, [METHOD], seeds, return_states=True
        )
        subject = _subject(lab, benchmark)
        classes[name] = analysis.classes_seen(subject.stream)
        layers[name] = _layers(subject)
        last = _in_the_end(runs[name], subject, states[METHOD])
        in_the_end.append({"benchmark": name, **last})
        lab.draw(f"bursts-{name}", analysis.plot_bursts(runs[name]))
        for after in AFTER:
            rows, curves = _after_the_switch(lab, benchmark, after, seeds)
            boundary.append(rows)
            more.append(curves)
    every = list(runs.values())
    tonic = analysis.tonic_comparison(runs, classes)
    lab.write("bursts", _bursts(runs), every)
    lab.write("bursts-tonic", _tonic(tonic, layers), every)
    lab.write("bursts-trend", _trend(tonic, margin), every)
    lab.write("bursts-held-out", pd.DataFrame(in_the_end), every)
    lab.write("bursts-loss", pd.concat(boundary, ignore_index=True), more)
    lab.draw("bursts-tonic", analysis.plot_tonic(tonic))
    lab.draw("bursts-timescales", _timescales(runs))
    lab.draw("bursts-toys", analysis.plot_toys(jax.random.key(0)))


def _bursts(runs: dict[str, xr.Dataset]) -> pd.DataFrame:
    """Return the measures of all bursts, and the decay recovered from the curves."""
    tables = []
    for name, curves in runs.items():
        table = analysis.burst_table(analysis.measure_bursts(curves))
        recorded = analysis.the_recorded_gain(curves)
        found = analysis.recovered_decay(recorded.gain, recorded.uncertainty, recorded.dynamics)
        table["decay_error"] = found.decay - float(np.asarray(recorded.dynamics.decay))
        table["largest_residual"] = found.largest_residual
        table.insert(0, "benchmark", name)
        tables.append(table.drop(columns=["predicted_low", "predicted_high"]))
    return pd.concat(tables, ignore_index=True)


def _subject(lab: Lab, benchmark: Benchmark) -> analysis.Subject:
    return analysis.Subject(benchmark, None if lab.smoke else lab.data_dir, lab.eval_examples)


def _layers(subject: analysis.Subject) -> int:
    """Return the number of modulated layers."""
    inputs = subject.test(0).inputs[:1]
    params, _ = jax.eval_shape(subject.model.init, jax.random.key(0), inputs)
    return sum(jax.tree.leaves(subject.model.modulated(params)))


def _tonic(levels: pd.DataFrame, layers: dict[str, int]) -> pd.DataFrame:
    """Return the tonic level of each task: mean over seeds, interval, prediction and effects."""
    rows = []
    for (name, task), group in levels.groupby(["benchmark", "task"], sort=False):
        mean, low, high = map(float, mean_interval(group["level"]))
        rest = group[["steady_state", "uncertainty"]].mean().to_dict()
        distance = (group["level"] - group["steady_state"]).abs().max()
        rows.append({
            "benchmark": name, "task": task, "classes": group["complexity"].iloc[0], "level": mean,
            "level_low": low, "level_high": high, **rest, "largest_distance": distance,
            "fast_share": 1 - (1 / group["level"]).mean(),
            "temperature": float(analysis.softmax_temperature(mean, layers[name])),
            "step": float(analysis.effective_step(np.array([mean, mean]), 1.0)[0]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _trend(levels: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Return the tests for rising and for flat levels of each benchmark."""
    return analysis.tonic_trend(levels, margin).drop(columns="setting")


def _in_the_end(
    curves: xr.Dataset, subject: analysis.Subject, states: TrainState
) -> dict[str, float]:
    """Return the final uncertainty on test images and on batches, and the gain for each."""
    entropy_of = jax.vmap(lambda network: analysis.held_out_uncertainty(subject, network))
    network = analysis.Network(states.params, states.model_state)
    sizes = np.asarray(subject.stream.test_sizes)
    held_out = np.asarray(entropy_of(network), np.float64) @ (sizes / sizes.sum())
    levels = analysis.tonic_levels(curves)
    last = levels[levels["task"] == levels["task"].max()]
    dynamics = analysis.the_recorded_gain(curves).dynamics
    measured = {
        "held_out": held_out,
        "batches": last["uncertainty"],
        "held_out_minus_batches": held_out - last["uncertainty"].to_numpy(),
        "level": last["level"],
        "level_of_held_out": np.asarray(dynamics.fixed_point(held_out)),
    }
    row: dict[str, float] = {}
    for name, values in measured.items():
        row |= interval_columns(name, values)
    return row


def _timescales(runs: dict[str, xr.Dataset]) -> Figure:
    figure = Figure(figsize=(6.8, 0.4 + 1.5 * len(runs)), layout="constrained")
    panels = figure.subplots(len(runs), squeeze=False)[:, 0]
    for (name, curves), axes in zip(runs.items(), panels, strict=True):
        analysis.plot_timescales(curves, axes=axes)
        axes.set_title(name, fontsize=9.5, color="0.3", pad=2)
        axes.set(ylim=(0, 0.9), ylabel="fast part", xlabel="update" if axes is panels[-1] else "")
    return figure


def _after_the_switch(
    lab: Lab, benchmark: Benchmark, after: int, seeds: int
) -> tuple[pd.DataFrame, xr.Dataset]:
    """Return the effect of the raised gain on the test loss some updates after the first switch."""
    whole = benchmark if lab.smoke else _first_switch(benchmark, after)
    curves, states = lab.run(
        f"bursts/{benchmark.name}-after-{after}", whole, [METHOD], seeds,
        eval_every=10_000, dense_updates=0, seen_every=10_000, return_states=True,
    )  # fmt: skip
    subject = _subject(lab, whole)
    layers = _layers(subject)
    before = curves["gain"].sel(setting=METHOD, update=curves["task_end"][0].item() + 1).values
    gain = np.asarray(get_gain(states[METHOD].opt_state))
    effects = jax.vmap(lambda state, calm: _effects(subject, state, layers, calm))
    found = effects(states[METHOD], jnp.asarray(before))
    rows = []
    for task in range(subject.tasks):
        row: dict[str, Any] = {
            "benchmark": benchmark.name, "after": after, "test_task": task + 1,
            "gain": gain.mean(), "gain_before": before.mean(),
        }  # fmt: skip
        for name, values in found.items():
            row |= interval_columns(name, np.asarray(values)[:, task])
        rows.append(row)
    return pd.DataFrame(rows), curves


def _first_switch(benchmark: Benchmark, after: int) -> Benchmark:
    """Return a benchmark that ends some updates after its first switch."""
    lengths = benchmark.protocol.updates_per_task
    first = lengths[0] if isinstance(lengths, Sequence) else lengths
    return first_tasks(benchmark, 2).replace(updates_per_task=[first, after])


def _effects(
    subject: analysis.Subject, state: TrainState, layers: int, calm: jax.Array
) -> dict[str, jax.Array]:
    """Return test loss and entropy on each task, and the change of the loss against other gains."""
    gain = get_gain(state.opt_state)
    losses: dict[str, list[jax.Array]] = {"loss": [], "minus_baseline": [], "minus_before": []}
    network = analysis.Network(state.params, state.model_state)
    for inputs, labels in map(subject.test, range(subject.tasks)):
        logits = subject.outputs(network, inputs)
        losses["loss"].append(analysis.loss_at(logits, labels, gain, layers, gain))
        for name, other in (("minus_baseline", jnp.ones(())), ("minus_before", calm)):
            losses[name].append(analysis.boost_effect(logits, labels, gain, layers, other))
    entropy = analysis.held_out_uncertainty(subject, network)
    return {name: jnp.stack(values) for name, values in losses.items()} | {"entropy": entropy}
