"""Metrics: cases with known answers, the published table, and wrong input."""

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gainjax.metrics
from gainjax.metrics import (
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
    ends = np.cumsum(lengths).tolist()
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
