"""Metrics against their definitions, written again as plain loops."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_curves import streams

import gainjax
from gainjax.metrics import (
    average_accuracy,
    average_min_accuracy,
    average_stability_gap,
    de_lange_accuracy,
    de_lange_min_accuracy,
    de_lange_worst_case_accuracy,
    mean_curve_metrics,
    recovery_updates,
    stability_gap,
    summarize,
    windowed_forgetting,
    windowed_plasticity,
    worst_case_accuracy,
)

SHORT = {"updates_per_task": 3, "batch_size": 16, "eval_examples": 20, "threads": 1}


# --- the definitions again, as plain loops ---


def within(updates, after, upto):
    return [column for column, n in enumerate(updates) if after < n <= upto]


def slow_gaps(curve, updates, ends, task=1):
    at = dict(zip(updates.tolist(), curve.tolist(), strict=True))
    gaps = []
    for k in range(task, len(ends)):
        before = at[int(ends[k - 1])]
        lowest = min(curve[c] for c in within(updates, ends[k - 1], ends[k]))
        gaps.append((before - lowest) / before if before else 0.0)
    return gaps


def slow_average_accuracy(curve, updates, ends):
    return statistics.fmean(curve[list(updates).index(end)] for end in ends)


def slow_average_min(curve, updates, ends, version):
    starts = [0, *ends[:-1]]
    minima = [
        min(curve[c] for c in within(updates, start, end))
        for start, end in zip(starts, ends, strict=True)
    ]
    return statistics.fmean(minima[:-1] if version == "v1" else minima[1:])


def slow_worst_case(curve, updates, ends, version):
    share = 1 / len(ends)
    return share * curve[-1] + (1 - share) * slow_average_min(curve, updates, ends, version)


def slow_recovery(curve, updates, ends, sustained=1):
    result = []
    for start, end in itertools.pairwise(ends):
        before = curve[list(updates).index(start)]
        columns = within(updates, start, end)
        lowest = min(curve[c] for c in columns)
        if lowest >= before:
            result.append((0, True))
            continue
        bottom = next(c for c in columns if curve[c] == lowest)
        back = [
            updates[c] - start
            for c in columns
            if c >= bottom and all(curve[d] >= before for d in columns if c <= d < c + sustained)
        ]
        result.append((back[0], True) if back else (end - start, False))
    return result


def slow_errors(curves, updates, ends):
    """Return the propagated errors of avg-ACC, avg-min-ACC (v1), WC-ACC and avg-SG."""
    mean = [statistics.fmean(column) for column in curves.T]
    error = [statistics.pstdev(column) for column in curves.T]
    count = len(ends)
    end_columns = [list(updates).index(end) for end in ends]
    low_columns = [
        min(within(updates, start, end), key=mean.__getitem__)
        for start, end in itertools.pairwise([0, *ends])
    ]
    end_error = math.hypot(*(error[c] for c in end_columns)) / count
    low_error = math.hypot(*(error[c] for c in low_columns[:-1])) / (count - 1)
    worst_error = math.hypot(error[-1] / count, (1 - 1 / count) * low_error)
    gap_errors = []
    for end, low in zip(end_columns[:-1], low_columns[1:], strict=True):
        loss, loss_error = mean[end] - mean[low], math.hypot(error[end], error[low])
        # Relative errors of the loss and of its reference in quadrature.
        relative = math.hypot(loss_error / loss, error[end] / mean[end])
        gap_errors.append(abs(loss / mean[end]) * relative)
    return end_error, low_error, worst_error, math.hypot(*gap_errors) / (count - 1)


def slow_de_lange_worst_case(curves, updates, ends):
    result = []
    for column, n in enumerate(updates):
        k = sum(end < n for end in ends) + 1
        value = curves[column][k - 1] / k
        if k > 1:
            minima = [min(curves[c][i] for c in within(updates, ends[i], n)) for i in range(k - 1)]
            value += (1 - 1 / k) * statistics.fmean(minima)
        result.append(value)
    return result


def slow_windowed(curves, updates, ends, window, sign):
    starts = [0, *ends[:-1]]
    largest = []
    for i, start in enumerate(starts):
        curve = [curves[c][i] for c in within(updates, start, ends[-1])]
        drops = [
            sign * (curve[m] - curve[n])
            for m in range(len(curve))
            for n in range(m + 1, min(len(curve), m + window))
        ]
        largest.append(max([0.0, *drops]))
    return statistics.fmean(largest)


# --- agreement with the loops ---


@settings(deadline=None)
@given(streams())
def test_task_one_metrics_are_their_definitions(stream):
    curves, updates, ends = stream
    curve = curves[:, 0]
    where = (curve, updates, ends)
    np.testing.assert_allclose(stability_gap(*where), slow_gaps(*where))
    np.testing.assert_allclose(
        average_stability_gap(*where), statistics.fmean(slow_gaps(*where)), atol=1e-15
    )
    np.testing.assert_allclose(average_accuracy(*where), slow_average_accuracy(*where))
    for version in ("v1", "v2"):
        np.testing.assert_allclose(
            average_min_accuracy(*where, version), slow_average_min(*where, version)
        )
        np.testing.assert_allclose(
            worst_case_accuracy(*where, version), slow_worst_case(*where, version)
        )
    for sustained in (1, 2, 3, 10):
        recovery = recovery_updates(*where, sustained=sustained)
        pairs = list(zip(recovery.updates.tolist(), recovery.recovered.tolist(), strict=True))
        assert pairs == slow_recovery(*where, sustained)


@settings(deadline=None)
@given(streams())
def test_gap_of_a_later_task_counts_from_its_own_end(stream):
    curves, updates, ends = stream
    for task in range(1, len(ends)):
        curve = curves[:, task - 1]
        expected = slow_gaps(curve, updates, ends, task)
        np.testing.assert_allclose(stability_gap(curve, updates, ends, task), expected)
        np.testing.assert_allclose(
            average_stability_gap(curve, updates, ends, task), np.mean(expected), atol=1e-15
        )


@settings(deadline=None)
@given(streams(least_tasks=1))
def test_de_lange_metrics_are_their_definitions(stream):
    curves, updates, ends = stream
    worst = slow_de_lange_worst_case(*stream)
    np.testing.assert_allclose(de_lange_accuracy(*stream), statistics.fmean(curves[-1]))
    np.testing.assert_allclose(de_lange_worst_case_accuracy(*stream), worst)
    if len(ends) > 1:
        minima = [
            min(curves[c, i] for c in within(updates, ends[i], ends[-1]))
            for i in range(len(ends) - 1)
        ]
        np.testing.assert_allclose(de_lange_min_accuracy(*stream), statistics.fmean(minima))


@settings(deadline=None)
@given(streams(least_tasks=1), st.integers(2, 8))
def test_windowed_metrics_are_their_definitions(stream, window):
    forgetting = slow_windowed(*stream, window, sign=1)
    plasticity = slow_windowed(*stream, window, sign=-1)
    np.testing.assert_allclose(windowed_forgetting(*stream, window), forgetting)
    np.testing.assert_allclose(windowed_plasticity(*stream, window), plasticity)


@pytest.mark.parametrize("window", [2, 3, 4, 5, 6, 7, 9, 17, 39, 40, 41])
def test_windowed_metrics_of_long_curves(window):
    steps = np.random.default_rng(window).normal(size=(40, 2))
    stream = 10 + steps.cumsum(axis=0) / 10, np.arange(1, 41), np.array([20, 40])
    forgetting = slow_windowed(*stream, window, sign=1)
    plasticity = slow_windowed(*stream, window, sign=-1)
    np.testing.assert_allclose(windowed_forgetting(*stream, window), forgetting)
    np.testing.assert_allclose(windowed_plasticity(*stream, window), plasticity)


@settings(max_examples=40, deadline=None)
@given(streams(rows=(2, 3)), st.integers(2, 9))
def test_rows_of_a_batch_are_measured_alone(stream, window):
    curves, updates, ends = stream
    seen = curves.mean(axis=-1)
    batch = summarize(curves, updates, ends, seen, window=window)
    assert all(values.shape == (2, 3) for values in batch.values())
    for row in np.ndindex(2, 3):
        alone = summarize(curves[row], updates, ends, seen[row], window=window)
        assert alone.keys() == batch.keys()
        for name, value in alone.items():
            np.testing.assert_allclose(value, batch[name][row], atol=1e-15, err_msg=name)


@pytest.mark.parametrize("seed", range(5))
def test_errors_are_propagated_by_their_definition(seed):
    curves = np.random.default_rng(seed).uniform(0.2, 1, (4, 30))
    where = (curves, np.arange(1, 31), np.array([8, 20, 30]))
    found = mean_curve_metrics(*where)
    errors = [found[name].error for name in ("avg_acc", "min_acc", "wc_acc", "avg_sg")]
    np.testing.assert_allclose(errors, slow_errors(*where))


@pytest.mark.exhaustive
def test_the_error_of_mean_curves_is_said_to_be_theirs():
    assert "inferred" not in mean_curve_metrics.__doc__
    assert "their table script" in mean_curve_metrics.__doc__


@pytest.mark.exhaustive
def test_the_evaluation_before_the_first_update_counts_in_windows_alone():
    with_start = np.array([[0.1, 0.1], [0.5, 0.2], [0.3, 0.9]])
    window = {"task_ends": [1, 2], "window": 2}
    ours = [windowed_plasticity(with_start, [0, 1, 2], **window)]
    ours.append(windowed_plasticity(with_start[1:], [1, 2], **window))
    np.testing.assert_allclose(ours, [(0.4 + 0.0) / 2, 0.0])
    np.testing.assert_allclose(windowed_forgetting(with_start, [0, 1, 2], **window), 0.1)
    curves = [
        gainjax.from_curves({"er": array}, eval_updates=updates, task_ends=[1, 2])
        for array, updates in ((with_start, [0, 1, 2]), (with_start[1:], [1, 2]))
    ]
    rows = [gainjax.per_seed(each).iloc[0] for each in curves]
    different = [k for k in rows[0].index if rows[0][k] != rows[1][k]]
    assert different == ["windowed_plasticity"]
    run = gainjax.run("split-digits", ["sgd"], 1, eval_tasks="all", **SHORT)
    assert 0 not in run.eval_update  # as the docstrings say
    assert run.eval_update[0] == 1
    assert gainjax.plot_curves(curves[0]).axes
