"""Metrics against plain loops, against each other, and against the published table."""

import ast
import itertools
import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gainjax.metrics
from gainjax.metrics import (
    METRICS,
    anytime_accuracy,
    average_accuracy,
    average_min_accuracy,
    average_stability_gap,
    de_lange_accuracy,
    de_lange_min_accuracy,
    de_lange_worst_case_accuracy,
    final_accuracy,
    mean_curve_metrics,
    recovery_updates,
    register_metric,
    stability_gap,
    summarize,
    updates_to_minimum,
    windowed_forgetting,
    windowed_plasticity,
    worst_case_accuracy,
)

TASK_ONE = [
    stability_gap,
    average_stability_gap,
    average_accuracy,
    average_min_accuracy,
    worst_case_accuracy,
    recovery_updates,
]
ALL_TASKS = [
    de_lange_accuracy,
    de_lange_min_accuracy,
    de_lange_worst_case_accuracy,
    lambda *curves: windowed_forgetting(*curves, window=3),
    lambda *curves: windowed_plasticity(*curves, window=3),
]

# Section 7 of the specification: avg-ACC, avg-min-ACC, WC-ACC in %, avg-SG, each with its ±, and
# the gap per switch.
PUBLISHED = {
    "splitMNIST/ENTROPY_GAIN": (
        [(99.018, 0.055), (83.421, 2.840), (86.374, 2.272), (0.019, 0.005)],
        [0.029, 0.015, 0.013, 0.019],
    ),
    "splitMNIST/SGD": (
        [(98.302, 0.071), (77.404, 1.665), (81.405, 1.332), (0.008, 0.001)],
        [0.016, 0.006, 0.007, 0.005],
    ),
    "splitMNIST/ADAM": (
        [(98.602, 0.229), (73.255, 9.223), (78.082, 7.380), (0.155, 0.094)],
        [0.313, 0.159, 0.097, 0.052],
    ),
    "splitMNIST/MSGD": (
        [(99.085, 0.074), (58.083, 3.774), (66.148, 3.020), (0.270, 0.007)],
        [1.000, 0.042, 0.015, 0.022],
    ),
    "rotMNIST/ENTROPY_GAIN": (
        [(94.948, 0.121), (51.006, 1.672), (65.536, 1.119), (0.054, 0.015)],
        [0.050, 0.057],
    ),
    "rotMNIST/SGD": (
        [(82.029, 0.213), (45.889, 0.388), (56.514, 0.309), (0.063, 0.004)],
        [0.055, 0.071],
    ),
    "rotMNIST/ADAM": (
        [(92.138, 0.430), (48.477, 2.563), (62.569, 1.732), (0.154, 0.033)],
        [0.147, 0.162],
    ),
    "rotMNIST/MSGD": (
        [(93.600, 0.170), (48.017, 1.030), (63.269, 0.691), (0.089, 0.010)],
        [0.075, 0.102],
    ),
}
UPDATES_PER_TASK = {"splitMNIST": 200, "rotMNIST": 400}


@pytest.fixture(scope="session")
def authors(shared):
    """Task-1 accuracy curves of the authors, in %, shape (seeds, updates)."""
    path = shared / "reference" / "authors_curves.npz"
    if not path.is_file():
        pytest.skip("the authors' curves are not in ../shared/reference")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[f"{name}/acc_test"] for name in PUBLISHED}


@st.composite
def streams(draw, least_tasks=2, rows=()):
    """Draw curves of all tasks with the updates at which they were evaluated and tasks ended."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=least_tasks, max_size=4))
    ends = np.cumsum(lengths)
    extra = draw(st.sets(st.integers(1, int(ends[-1]))))
    updates = np.array(sorted(extra | set(ends.tolist())))
    shape = (*rows, len(updates), len(ends))
    # Eighths are exact, and few enough for ties and for an accuracy of 0.
    size = math.prod(shape)
    accuracy = draw(st.lists(st.integers(0, 8), min_size=size, max_size=size))
    return np.reshape(accuracy, shape) / 8, updates, ends


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


# --- properties ---


@settings(deadline=None)
@given(streams())
def test_bounds(stream):
    curves, updates, ends = stream
    where = (curves[:, 0], updates, ends)
    low, high = curves.min(), curves.max()
    slack = 1e-12
    assert (stability_gap(*where) <= 1).all()
    for function in (average_accuracy, average_min_accuracy, worst_case_accuracy):
        assert low - slack <= function(*where) <= high + slack
    for function in (de_lange_accuracy, de_lange_min_accuracy, de_lange_worst_case_accuracy):
        values = function(*stream)
        assert ((low - slack <= values) & (values <= high + slack)).all()
    recovery = recovery_updates(*where)
    assert (recovery.updates <= np.diff(ends)).all()
    assert (recovery.updates[~recovery.recovered] == np.diff(ends)[~recovery.recovered]).all()
    assert (stability_gap(*where)[recovery.updates == 0] <= 0).all()


@settings(deadline=None)
@given(streams(), st.floats(0.01, 100))
def test_the_unit_of_accuracy_cancels_in_gaps_and_scales_the_rest(stream, unit):
    before = summarize(*stream)
    after = summarize(stream[0] * unit, *stream[1:])
    unchanged = {"avg_sg", "lowest_at", "recovery", "recovered", "sustained_recovery", "sustained"}
    for name in before:
        factor = 1 if name in unchanged else unit
        np.testing.assert_allclose(
            after[name], factor * before[name], rtol=1e-9, atol=1e-12, err_msg=name
        )


@settings(deadline=None)
@given(streams())
def test_a_curve_that_never_falls_shows_no_gap_and_no_forgetting(stream):
    curves, updates, ends = np.sort(stream[0], axis=0), *stream[1:]
    assert (stability_gap(curves[:, 0], updates, ends) <= 0).all()
    assert (recovery_updates(curves[:, 0], updates, ends).updates == 0).all()
    assert windowed_forgetting(curves, updates, ends, window=100) == 0
    assert windowed_plasticity(curves[::-1], updates, ends, window=100) == 0
    level = np.ones_like(curves[:, 0])
    assert (stability_gap(level, updates, ends) == 0).all()


@settings(deadline=None)
@given(streams())
def test_fewer_evaluations_never_show_a_larger_gap(stream):
    curves, updates, ends = stream
    kept = np.isin(updates, ends) | (np.arange(len(updates)) % 2 == 0)
    full, thin = (curves[:, 0], updates, ends), (curves[kept, 0], updates[kept], ends)
    assert (stability_gap(*thin) <= stability_gap(*full)).all()
    assert average_min_accuracy(*thin) >= average_min_accuracy(*full)
    assert average_accuracy(*thin) == average_accuracy(*full)
    assert de_lange_min_accuracy(curves[kept], *thin[1:]) >= de_lange_min_accuracy(*stream)


@settings(deadline=None)
@given(streams(), st.integers(2, 12))
def test_a_longer_window_never_shows_less(stream, window):
    for function in (windowed_forgetting, windowed_plasticity):
        assert function(*stream, window) <= function(*stream, window + 1)


@settings(deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=12))
def test_an_endless_window_finds_the_largest_drop_of_all(eighths):
    curve = np.array(eighths) / 8
    where = (curve[:, None], np.arange(len(curve)) + 1, [len(curve)])
    largest = (np.maximum.accumulate(curve) - curve).max()
    assert windowed_forgetting(*where, window=max(2, len(curve))) == largest
    assert windowed_forgetting(*where, window=10**9) == largest
    backwards = (curve[::-1, None], *where[1:])
    assert windowed_plasticity(*backwards, window=10**9) == largest


@settings(deadline=None)
@given(streams(rows=(4,)), st.permutations(range(4)))
def test_order_of_seeds_does_not_matter(stream, order):
    curves, updates, ends = stream
    before = mean_curve_metrics(curves[..., 0], updates, ends)
    after = mean_curve_metrics(curves[order, :, 0], updates, ends)
    for name in before:  # eighths over 4 seeds are exact, and so are the ties between minima
        np.testing.assert_allclose(before[name].value, after[name].value, err_msg=name)
        np.testing.assert_allclose(before[name].error, after[name].error, err_msg=name)


@settings(deadline=None)
@given(streams(rows=(2, 4)), st.sampled_from(["v1", "v2"]))
def test_mean_curve_metrics_are_those_of_the_mean_curve(stream, version):
    curves, updates, ends = stream
    estimates = mean_curve_metrics(curves[..., 0], updates, ends, version)
    mean = summarize(curves[..., :1].mean(axis=1), updates, ends, version=version)
    for name in ("avg_acc", "min_acc", "wc_acc", "avg_sg"):
        np.testing.assert_array_equal(estimates[name].value, mean[name])
        assert estimates[name].error.shape == (2,)
    assert estimates["sg"].value.shape == estimates["sg"].error.shape == (2, len(ends) - 1)
    for row in range(2):
        alone = mean_curve_metrics(curves[row, ..., 0], updates, ends, version)
        for name in alone:
            np.testing.assert_allclose(alone[name].error, estimates[name].error[row])


@pytest.mark.parametrize("seed", range(5))
def test_errors_are_propagated_by_their_definition(seed):
    curves = np.random.default_rng(seed).uniform(0.2, 1, (4, 30))
    where = (curves, np.arange(1, 31), np.array([8, 20, 30]))
    found = mean_curve_metrics(*where)
    errors = [found[name].error for name in ("avg_acc", "min_acc", "wc_acc", "avg_sg")]
    np.testing.assert_allclose(errors, slow_errors(*where))


@settings(deadline=None)
@given(streams(rows=(3,)))
def test_minimum_of_the_mean_curve_is_above_the_mean_minimum(stream):
    curves, updates, ends = stream
    mean = mean_curve_metrics(curves[..., 0], updates, ends)["min_acc"].value
    assert mean >= average_min_accuracy(curves[..., 0], updates, ends).mean() - 1e-12


def test_seeds_that_agree_have_no_error():
    curves = np.tile([0.1, 0.8, 0.4, 0.9], (3, 1))
    for estimate in mean_curve_metrics(curves, [1, 2, 3, 4], [2, 4]).values():
        np.testing.assert_allclose(estimate.error, 0, atol=1e-15)


# --- cases with known answers ---


def test_published_counterexample_of_windowed_plasticity():
    value = windowed_plasticity(np.array([[0.5], [0.3], [0.9]]), [1, 2, 3], [3], window=3)
    np.testing.assert_allclose(value, 0.6)


def test_no_accuracy_to_lose_is_no_gap():
    np.testing.assert_array_equal(stability_gap([0.0, 0.0, 0.0], [1, 2, 3], [1, 3]), [0])
    np.testing.assert_array_equal(stability_gap([0.0, 0.5, 0.6], [1, 2, 3], [1, 3]), [0])


def test_gap_is_negative_where_accuracy_only_rises():
    np.testing.assert_array_equal(stability_gap([0.5, 0.75, 1.0], [1, 2, 3], [1, 3]), [-0.5])


def test_recovery_waits_for_the_deepest_point():
    # Back for one update at 22, but the gap is still to come.
    curve = [0.8, 0.7, 0.8, 0.1, 0.79, 0.8]
    recovery = recovery_updates(curve, [20, 21, 22, 30, 35, 40], [20, 40])
    assert (recovery.updates.tolist(), recovery.recovered.tolist()) == ([20], [True])


def test_a_passing_return_is_no_sustained_recovery():
    where = [0.75, 1, 0.25, 1, 0.5, 0.5, 0.25], range(1, 8), [1, 7]
    assert recovery_updates(*where).updates == 3
    for sustained in (2, 10):
        recovery = recovery_updates(*where, sustained=sustained)
        assert (recovery.updates, recovery.recovered) == (6, False)
    stays = [0.75, 1, 0.25, 1, 0.5, 0.75, 1]  # to the end, which is all there is
    assert recovery_updates(stays, *where[1:], sustained=10).updates == 5
    assert recovery_updates(stays, *where[1:], sustained=2).updates == 5
    row = summarize(np.array(stays)[:, None], *where[1:])
    assert (row["recovery"], row["sustained_recovery"]) == (3, 5)


def test_scores_may_be_negative_and_above_one():
    score = [-2.0, 1.5, -3.0, 2.0]  # more is better, such as R² or a log-likelihood
    assert stability_gap(score, UPDATES, ENDS) == 3  # fell by three times what it was
    assert np.isnan(stability_gap([1.0, -1.5, -3.0, 2.0], UPDATES, ENDS))  # no fraction of that
    assert average_accuracy(score, UPDATES, ENDS) == 1.75


def test_forgetting_ignores_a_task_before_its_first_update():
    curves = np.array([[0.5, 0.9], [0.5, 0.0], [0.5, 0.5], [0.5, 0.5]])
    assert windowed_forgetting(curves, [1, 2, 3, 4], [2, 4], window=4) == 0


def test_de_lange_looks_at_minima_since_the_end_of_a_task():
    # Task 1 is at 0.1 while it is learnt: in rodriguez-garcia v1 this counts, here it does not.
    curves = np.array([[0.1, 0.0], [0.8, 0.0], [0.4, 0.6], [0.7, 0.9]])
    where = ([1, 2, 3, 4], [2, 4])
    np.testing.assert_allclose(average_min_accuracy(curves[:, 0], *where), 0.1)
    np.testing.assert_allclose(de_lange_min_accuracy(curves, *where), 0.4)
    np.testing.assert_allclose(
        de_lange_worst_case_accuracy(curves, *where), [0.1, 0.8, 0.5, (0.9 + 0.4) / 2]
    )


def test_anytime_and_final_accuracy():
    seen = np.array([[0.1, 0.5, 0.9], [0.2, 0.2, 0.2]])
    np.testing.assert_allclose(anytime_accuracy(seen), [0.5, 0.2])
    np.testing.assert_allclose(final_accuracy(seen), [0.9, 0.2])


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.randoms())
def test_anytime_accuracy_is_the_mean_of_the_interpolated_curve(lengths, random):
    ends = np.cumsum(lengths)
    curve, measured, begin = [], [], 0
    for end in ends:
        inner = random.sample(range(begin + 1, end), random.randint(0, end - begin - 1))
        here = sorted({*inner, end})
        values = [random.random() for _ in here]
        curve += list(np.interp(np.arange(begin + 1, end + 1), here, values))
        measured += here
        begin = end
    seen = np.array(curve)[np.array(measured) - 1]
    found = anytime_accuracy(seen, measured, ends)
    np.testing.assert_allclose(found, np.mean(curve))
    # An evaluation before the first update does not count.
    with_start = anytime_accuracy([random.random(), *seen], [0, *measured], ends)
    np.testing.assert_allclose(with_start, np.mean(curve))


def test_updates_to_the_lowest_accuracy():
    curves = [[0.9, 0.9, 0.5, 0.4, 0.4, 0.9], [0.9, 0.8, 0.8, 0.9, 0.9, 0.9]]
    found = updates_to_minimum(curves, [5, 10, 11, 12, 14, 20], [10, 20])
    np.testing.assert_array_equal(found, [[2], [1]])


def test_summarize_returns_what_the_curves_allow():
    curves, updates, ends = np.full((5, 4, 2), 0.5), [1, 2, 3, 4], [2, 4]
    task_one = ["avg_sg", "min_acc", "wc_acc", "avg_acc", "lowest_at", "recovery", "recovered"]
    task_one += ["sustained_recovery", "sustained"]
    de_lange = ["de_lange_acc", "de_lange_min_acc", "de_lange_wc_acc"]
    de_lange += ["windowed_forgetting", "windowed_plasticity"]
    seen = ["anytime_accuracy", "final_accuracy"]
    assert list(summarize(curves[..., :1], updates, ends)) == task_one
    assert list(summarize(curves, updates, ends, curves[..., 0])) == task_one + de_lange + seen
    assert list(summarize(curves, updates, ends, convention="rodriguez-garcia")) == task_one
    assert list(summarize(curves, updates, ends, convention="de-lange")) == de_lange


# --- the published table ---


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_table_from_the_authors_curves(authors, name):
    """Every number of the table, the ± included, to the digits printed."""
    length = UPDATES_PER_TASK[name.split("/")[0]]
    curves = authors[name].astype(np.float64)
    updates = np.arange(curves.shape[1]) + 1
    ends = np.arange(length, curves.shape[1] + 1, length)
    found = mean_curve_metrics(curves, updates, ends)
    table, gaps = PUBLISHED[name]
    half_a_digit = 0.0005 + 1e-9
    for metric, (value, error) in zip(
        ("avg_acc", "min_acc", "wc_acc", "avg_sg"), table, strict=True
    ):
        assert abs(found[metric].value - value) <= half_a_digit, metric
        assert abs(found[metric].error - error) <= half_a_digit, metric
    np.testing.assert_allclose(found["sg"].value, gaps, rtol=0, atol=half_a_digit)


def test_mean_curve_understates_the_gap_of_adam(authors):
    curves = authors["splitMNIST/ADAM"]
    updates, ends = np.arange(1000) + 1, np.arange(200, 1001, 200)
    per_seed = average_stability_gap(curves, updates, ends).mean()
    mean_curve = average_stability_gap(curves.mean(axis=0), updates, ends)
    np.testing.assert_allclose([per_seed, mean_curve], [0.259, 0.155], atol=0.0005)


# --- errors, and standing alone ---

CURVE = [0.5, 0.8, 0.2, 0.9]
UPDATES, ENDS = [1, 2, 3, 4], [2, 4]


@pytest.mark.parametrize("function", TASK_ONE)
@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ((["a"] * 4, UPDATES, ENDS), TypeError, "accuracy must hold real numbers"),
        (([0.5, np.nan, 0.2, 0.9], UPDATES, ENDS), ValueError, r"accuracy .* nan at index \(1,\)"),
        (([0.5, np.inf, 0.2, 0.9], UPDATES, ENDS), ValueError, "must be finite: got inf"),
        ((0.5, UPDATES, ENDS), ValueError, "accuracy must have shape"),
        (([], UPDATES, ENDS), ValueError, "not empty"),
        ((np.ma.masked_less(CURVE, 0.3), UPDATES, ENDS), TypeError, "accuracy must not be masked"),
        ((CURVE[:3], UPDATES, ENDS), ValueError, r"accuracy must end in the shape \(4,\)"),
        ((CURVE, [1.0, 2.0, 3.0, 4.0], ENDS), TypeError, "eval_updates must hold integers"),
        ((CURVE, [1, 2, 2, 4], ENDS), ValueError, "eval_updates must be strictly increasing"),
        ((CURVE, [-1, 1, 2, 4], ENDS), ValueError, "eval_updates must be .* from 0 on"),
        ((CURVE, [UPDATES], ENDS), ValueError, "eval_updates must be a list"),
        ((CURVE, UPDATES, []), ValueError, "task_ends must be a list"),
        ((CURVE, UPDATES, [4, 2]), ValueError, "task_ends must be strictly increasing"),
        ((CURVE, [1, 3, 5, 6], [2, 6]), ValueError, r"among eval_updates: \[2\]"),
        ((CURVE, UPDATES, [1, 2]), ValueError, "eval_updates must end with the last task, at 2"),
    ],
)
def test_wrong_input_of_task_one(function, where, error, message):
    with pytest.raises(error, match=message):
        function(*where)


@pytest.mark.parametrize("function", ALL_TASKS)
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3), (3, 2)])
def test_wrong_shape_of_all_tasks(function, shape):
    with pytest.raises(ValueError, match=r"accuracy must (have|end in the) shape"):
        function(np.full(shape, 0.5), UPDATES, ENDS)


@pytest.mark.parametrize(
    "function", [f for f in TASK_ONE if f is not average_accuracy] + [mean_curve_metrics]
)
def test_one_task_has_no_switch(function):
    curve = [CURVE] if function is mean_curve_metrics else CURVE
    with pytest.raises(ValueError, match="task_ends must have at least 2 tasks"):
        function(curve, UPDATES, [4])


def test_wrong_options():
    curves = np.full((4, 2), 0.5)
    with pytest.raises(ValueError, match=r"version must be one of .*'v3'"):
        average_min_accuracy(CURVE, UPDATES, ENDS, "v3")
    with pytest.raises(ValueError, match="convention must be one of"):
        summarize(curves, UPDATES, ENDS, convention="ours")
    with pytest.raises(ValueError, match="accuracy must end in the shape"):
        summarize(curves[:, :1], UPDATES, ENDS, convention="de-lange")
    with pytest.raises(ValueError, match="task 1 or of all 2 tasks"):
        summarize(np.full((4, 3), 0.5), UPDATES, ENDS)
    with pytest.raises(ValueError, match="seen_accuracy must have the leading axes"):
        summarize(np.full((5, 4, 2), 0.5), UPDATES, ENDS, np.full((4, 3), 0.5))
    with pytest.raises(ValueError, match="seed axis"):
        mean_curve_metrics(CURVE, UPDATES, ENDS)
    with pytest.raises(ValueError, match="seen_accuracy must"):
        anytime_accuracy([])
    for sustained in (0, 1.5):
        with pytest.raises(ValueError, match="sustained must be"):
            recovery_updates(CURVE, UPDATES, ENDS, sustained)
    for window in (1, 0, 2.5):
        with pytest.raises(ValueError, match="window must be"):
            windowed_forgetting(curves, UPDATES, ENDS, window)
    for task in (0, 2, 1.5):
        with pytest.raises(ValueError, match="task must be from 1 to 1"):
            stability_gap(CURVE, UPDATES, ENDS, task)


def test_the_metrics_need_nothing_but_numpy():
    folder = Path(gainjax.metrics.__file__).parent
    imported = {
        name.removeprefix("gainjax.").split(".")[0]
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert imported == {"metrics", "numpy", "typing", "collections", "dataclasses", "jaxtyping"}


def test_input_is_left_alone():
    curves = np.random.default_rng(0).random((3, 4, 2)).astype(np.float32)
    kept = curves.copy()
    summarize(curves, UPDATES, ENDS, curves[..., 0])
    mean_curve_metrics(curves[..., 0], UPDATES, ENDS)
    np.testing.assert_array_equal(curves, kept)


# --- the registry ---


@pytest.fixture
def registered():
    """A metric from outside, for the duration of a test."""
    metric = register_metric(
        "lowest", lambda curves: curves.min(axis=-1), ("first_accuracy",), "lowest", "lowest"
    )
    yield metric
    del METRICS["lowest"]


def test_a_metric_from_outside_is_one_call(registered):
    curves = np.random.default_rng(0).random((3, 4, 2))
    assert list(summarize(curves, UPDATES, ENDS))[-1] == "lowest"
    np.testing.assert_array_equal(
        summarize(curves, UPDATES, ENDS)["lowest"], curves[..., 0].min(axis=-1)
    )
    with pytest.raises(ValueError, match="a new identifier: got 'lowest'"):
        register_metric("lowest", min, ("accuracy",), "x", "x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "two words"}, "a new identifier: got 'two words'"),
        ({"needs": ("loss",)}, "needs must be a tuple of names among first_accuracy.*'loss'"),
        ({"needs": ()}, "needs must be a tuple of names"),
        ({"needs": "first_accuracy"}, "needs must be a tuple of names .*: got 'first_accuracy'"),
        ({"unit": "metres"}, "unit must be one of .*got 'metres'"),
        ({"better": "lowest"}, "better must be one of"),
        ({"convention": "mine"}, "convention must be one of"),
        ({"units": "percent"}, "no field 'units'"),
    ],
)
def test_wrong_metrics_are_refused(changes, message):
    given = {"name": "x", "function": min, "needs": ("accuracy",), "title": "x", "meaning": "x"}
    with pytest.raises(ValueError, match=message):
        register_metric(**(given | changes))
    assert "x" not in METRICS


def test_a_metric_that_does_not_keep_its_rows_is_refused():
    register_metric("x", np.min, ("first_accuracy",), "x", "x")
    try:
        with pytest.raises(
            ValueError, match=r"metric x must return one number for each row.*\(3,\)"
        ):
            summarize(np.full((3, 4, 2), 0.5), UPDATES, ENDS)
    finally:
        del METRICS["x"]


def test_metrics_are_shown_in_their_unit():
    shown = {name: metric.show(0.12345) for name, metric in METRICS.items()}
    assert shown["avg_sg"] == "0.123"
    assert shown["min_acc"] == "12.3"
    assert METRICS["min_acc"].show(-1e-9) == "0.0"
    assert METRICS["recovery"].show(12.4) == "12"
    assert METRICS["min_acc"].show(0.12345, 2) == "12.35"
    assert METRICS["min_acc"].show(-1.5, score="R²") == "-1.500"
    assert {metric.show(np.nan) for metric in METRICS.values()} == {"–"}
    assert METRICS["final_accuracy"].explained() == "accuracy on all tasks at the end, %"
    assert METRICS["final_accuracy"].explained("R²") == "R² on all tasks at the end"
