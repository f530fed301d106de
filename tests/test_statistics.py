"""Statistics against SciPy, against plain enumeration, and against what they must obey."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gainjax.statistics import (
    best_mean_test,
    frontier,
    holm,
    mean_interval,
    paired_difference,
    paired_permutation_test,
)

numbers = st.floats(-100, 100).map(lambda x: round(x, 3))
probabilities = st.floats(0, 1)


def seeds(least=1, most=8):
    return hnp.arrays(np.float64, st.integers(least, most), elements=numbers)


# --- interval ---


@pytest.mark.parametrize("count", [2, 5, 20])
def test_interval_agrees_with_scipy(count):
    samples = np.random.default_rng(count).exponential(size=(3, count))
    ours = mean_interval(samples, confidence=0.9)
    for row, low, high in zip(samples, ours.low, ours.high, strict=True):
        theirs = scipy.stats.ttest_1samp(row, 0).confidence_interval(0.9)
        np.testing.assert_allclose([low, high], theirs, rtol=1e-12)


@settings(deadline=None)
@given(seeds(least=2), st.floats(0.5, 0.99))
def test_interval_moves_with_the_samples(samples, confidence):
    mean, low, high = mean_interval(samples, confidence=confidence)
    assert low <= mean <= high
    np.testing.assert_allclose(mean, samples.mean())
    moved = mean_interval(2 * samples + 1, confidence=confidence)
    np.testing.assert_allclose(moved, 2 * np.array([mean, low, high]) + 1, atol=1e-9)
    wider = mean_interval(samples, confidence=0.995)
    assert wider.low <= low <= high <= wider.high


def test_interval_row_by_row():
    samples = np.random.default_rng(0).normal(size=(3, 2, 5))
    interval = mean_interval(samples)
    assert interval.low.shape == (3, 2)
    for row in np.ndindex(3, 2):
        alone = mean_interval(samples[row])
        np.testing.assert_allclose(alone, [values[row] for values in interval])


def test_interval_of_a_single_seed_is_unknown_and_of_equal_seeds_a_point():
    mean, low, high = mean_interval([[0.5], [0.7]])
    np.testing.assert_array_equal(mean, [0.5, 0.7])
    assert np.isnan(low).all()
    assert np.isnan(high).all()
    assert len(set(map(float, mean_interval([0.1] * 5)))) == 1


def covered(samples, truth, interval):
    low, high = interval(samples)
    return ((low <= truth) & (truth <= high)).mean()


def by_t(samples):
    return mean_interval(samples)[1:]


def by_bootstrap(method):
    def interval(samples):
        found = scipy.stats.bootstrap(
            (samples,), np.mean, axis=-1, method=method, n_resamples=499, rng=0
        )
        return found.confidence_interval

    return interval


@pytest.mark.parametrize(
    ("draw", "truth", "expected"),
    [
        ("normal", 0.0, {5: 0.95, 10: 0.95, 20: 0.95}),
        ("lognormal", np.exp(0.125), {5: 0.91, 10: 0.92, 20: 0.93}),
        ("exponential", 1.0, {5: 0.88, 10: 0.88, 20: 0.93}),
    ],
)
def test_coverage_is_what_the_docstring_says(draw, truth, expected):
    options = {"sigma": 0.5} if draw == "lognormal" else {}
    for count, share in expected.items():
        rng = np.random.default_rng(count)
        samples = getattr(rng, draw)(size=(8000, count), **options)
        assert abs(covered(samples, truth, by_t) - share) < 0.02


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_coverage_of_the_bootstraps_that_are_not_used(method):
    samples = np.random.default_rng(0).normal(size=(1500, 10))
    for count, share in ((5, 0.83), (10, 0.90)):
        assert abs(covered(samples[:, :count], 0, by_bootstrap(method)) - share) < 0.025


# --- paired test ---


def slow_p_value(differences):
    """Enumerate all sign patterns of decimals, in whole thousandths so that ties are exact."""
    whole = [round(1000 * d) for d in differences]
    observed = abs(sum(whole))
    patterns = list(itertools.product([-1, 1], repeat=len(whole)))
    extreme = sum(
        abs(sum(s * d for s, d in zip(pattern, whole, strict=True))) >= observed
        for pattern in patterns
    )
    return extreme / len(patterns)


@settings(deadline=None)
@given(seeds())
def test_p_value_is_the_share_of_all_sign_patterns(differences):
    p_value = paired_permutation_test(differences, np.zeros_like(differences))
    np.testing.assert_allclose(p_value, slow_p_value(differences))
    assert p_value >= 2 / 2 ** len(differences)


@settings(deadline=None)
@given(seeds(least=2), st.randoms(use_true_random=False))
def test_p_value_ignores_order_direction_and_unit(differences, random):
    zeros = np.zeros_like(differences)
    p_value = paired_permutation_test(differences, zeros)
    order = random.sample(range(len(differences)), len(differences))
    for same in (differences[order], -differences, differences * 1024):
        assert paired_permutation_test(same, zeros) == p_value


def test_p_value_agrees_with_scipy():
    rng = np.random.default_rng(3)
    samples, reference = rng.normal(0.3, size=(4, 8)), rng.normal(size=8)
    theirs = scipy.stats.permutation_test(
        (samples, np.broadcast_to(reference, samples.shape)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
        axis=-1,
    ).pvalue
    np.testing.assert_allclose(paired_permutation_test(samples, reference), theirs)


def test_p_values_at_the_ends():
    assert paired_permutation_test([0.7], [0.1]) == 1
    assert paired_permutation_test([0.1, 0.2], [0.1, 0.2]) == 1
    assert paired_permutation_test(np.arange(1, 6), np.zeros(5)) == 0.0625
    assert paired_permutation_test(np.arange(1, 17), np.zeros(16)) == 2 / 2**16


def test_p_value_of_many_seeds_is_sampled():
    differences = np.random.default_rng(0).normal(0.5, size=20)
    p_value = paired_permutation_test(differences, np.zeros(20))
    signs = 1 - 2 * ((np.arange(2**19)[:, None] >> np.arange(20)) & 1)
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).mean()
    error = (exact * (1 - exact) / 2**16) ** 0.5
    assert abs(p_value - exact) < 4 * error + 2**-15
    assert p_value == paired_permutation_test(differences, np.zeros(20))
    assert paired_permutation_test(np.full(40, 0.1), np.zeros(40)) == 2**-16


def test_p_values_of_null_samples_keep_the_level():
    differences = np.random.default_rng(0).normal(size=(4000, 8))
    p_values = paired_permutation_test(differences, np.zeros(8))
    for level in (0.05, 0.2, 0.5):
        assert (p_values <= level).mean() < level + 3 * (level * (1 - level) / 4000) ** 0.5


# --- the best of several ---


def test_p_value_of_the_best_is_the_share_of_all_assignments_with_such_a_range():
    samples = np.random.default_rng(3).normal(size=(3, 4))
    samples += np.array([[0.6], [0.0], [1.2]])
    orders = list(itertools.permutations(range(3)))
    ranges = [
        np.ptp(np.stack([samples[list(order), j] for j, order in enumerate(chosen)]).mean(axis=0))
        for chosen in itertools.product(orders, repeat=4)
    ]
    middle, best, worst = best_mean_test(samples)
    assert np.isnan(best)
    exact = (np.array(ranges) >= np.ptp(samples.mean(axis=1)) - 1e-9).mean()
    assert worst == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 10_000) ** 0.5)
    # Without the worst, but no more certain.
    assert middle == max(worst, paired_permutation_test(samples[0], samples[1]))


def test_the_best_of_two_has_the_paired_p_value():
    samples = np.random.default_rng(0).normal(size=(2, 7))
    assert np.nanmax(best_mean_test(samples)) == paired_permutation_test(*samples)
    np.testing.assert_array_equal(best_mean_test(np.ones((3, 6))), [np.nan, 1, 1])


@pytest.mark.exhaustive
def test_the_choice_of_the_best_of_equal_rows_keeps_the_level():
    """A correction of tests against a reference, which ignores the choice, does not."""
    rng, sets = np.random.default_rng(0), 200
    chosen, fixed, partly = np.zeros((3, sets))
    for number in range(sets):
        samples = rng.normal(size=(8, 10))
        chosen[number] = np.nanmin(best_mean_test(samples))
        best = samples.mean(axis=1).argmin()
        others = np.delete(samples, best, axis=0)
        fixed[number] = holm(paired_permutation_test(others, samples[best])).min()
        # Equal ones below others, which are clearly worse.
        found = best_mean_test(samples[:5] + np.array([[0.0], [0], [0], [9], [9]]))
        partly[number] = np.nanmin(found[:3])
        assert (found[3:] < 0.001).all()
    error = (0.05 * 0.95 / sets) ** 0.5
    assert abs((chosen <= 0.05).mean() - 0.05) < 2 * error
    assert abs((partly <= 0.05).mean() - 0.05) < 2 * error
    assert (fixed <= 0.05).mean() > 0.05 + 2 * error


def test_paired_difference_joins_interval_and_test():
    rng = np.random.default_rng(1)
    samples, reference = rng.random((3, 6)), rng.random(6)
    found = paired_difference(samples, reference, confidence=0.9)
    interval = mean_interval(samples - reference, confidence=0.9)
    np.testing.assert_array_equal(found[:3], interval)
    np.testing.assert_array_equal(found.p_value, paired_permutation_test(samples, reference))


def test_pairing_removes_what_seeds_share():
    rng = np.random.default_rng(2)
    shared = rng.normal(size=8)
    samples = shared + 0.1 + 0.01 * rng.normal(size=8)
    found = paired_difference(samples, shared)
    alone = mean_interval(samples)
    assert found.p_value == 2 / 2**8
    assert 0 < found.low < 0.1 < found.high < 0.12
    assert alone.high - alone.low > 10 * (found.high - found.low)


# --- Holm ---


def slow_holm(p_values):
    """Reject one by one, from the smallest: the adjusted value is the level at which it falls."""
    ranked = sorted(p_values)
    adjusted, highest = {}, 0.0
    for rank, p_value in enumerate(ranked):
        highest = max(highest, (len(ranked) - rank) * p_value)
        adjusted.setdefault(p_value, min(1.0, highest))
    return [adjusted[p_value] for p_value in p_values]


@settings(deadline=None)
@given(st.lists(probabilities, max_size=12))
def test_holm_is_its_definition(p_values):
    np.testing.assert_allclose(holm(p_values), slow_holm(p_values), rtol=1e-12)


@settings(deadline=None)
@given(hnp.arrays(np.float64, (3, 4), elements=probabilities))
def test_holm_lies_between_the_raw_values_and_bonferroni(p_values):
    adjusted = holm(p_values)
    assert adjusted.shape == p_values.shape
    assert (adjusted >= p_values).all()
    assert (adjusted <= np.minimum(1, p_values.size * p_values)).all()
    by_rank = np.argsort(p_values, axis=None, kind="stable")
    assert (np.diff(adjusted.ravel()[by_rank]) >= 0).all()


def test_holm_textbook_example_and_cells_without_a_test():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    table = np.array([[np.nan, 0.01], [0.04, 0.03], [0.005, np.nan]])
    adjusted = holm(table)
    np.testing.assert_allclose(adjusted, [[np.nan, 0.03], [0.06, 0.06], [0.02, np.nan]])
    assert holm(0.2) == 0.2
    assert np.isnan(holm([np.nan])).all()


# --- frontier ---


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=15))
def test_frontier_holds_the_points_that_none_beats(points):
    expected = [
        not any(
            (gap <= own_gap and accuracy >= own_accuracy)
            and (gap < own_gap or accuracy > own_accuracy)
            for gap, accuracy in points
        )
        for own_gap, own_accuracy in points
    ]
    gap, accuracy = np.array(points, float).reshape(-1, 2).T
    mask = frontier(gap, accuracy)
    assert mask.tolist() == expected
    if points:
        assert mask[np.lexsort((-accuracy, gap))[0]]  # the smallest gap
        assert mask[np.lexsort((gap, -accuracy))[0]]  # the largest accuracy


def test_frontier_leaves_out_what_is_not_known():
    mask = frontier([0.1, np.nan, 0.0, 0.2], [0.8, 1.0, np.nan, 0.7])
    assert mask.tolist() == [True, False, False, False]


# --- errors ---


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mean_interval(0.5), ValueError, r"samples must have shape \(..., seeds\)"),
        (lambda: mean_interval([]), ValueError, "samples must have shape"),
        (lambda: mean_interval([0.5, np.nan]), ValueError, "samples must be finite"),
        (lambda: mean_interval(["a"]), TypeError, "samples must hold real numbers"),
        (lambda: mean_interval(np.ma.masked_equal([1, 9], 9)), TypeError, "must not be masked"),
        (lambda: mean_interval([1, 2], confidence=95), ValueError, "confidence must be in"),
        (lambda: paired_permutation_test([1, 2], [1]), ValueError, "the same seeds"),
        (lambda: paired_permutation_test([1], [np.inf]), ValueError, "reference must be finite"),
        (
            lambda: paired_difference(np.ones((2, 5)), np.ones((3, 5))),
            ValueError,
            "samples and reference must broadcast",
        ),
        (lambda: best_mean_test([[1, 2]]), ValueError, "at least 2 rows: got"),
        (lambda: best_mean_test([1, 2]), ValueError, r"must have the shape \(rows, seeds\)"),
        (lambda: best_mean_test([[1], [np.nan]]), ValueError, "samples must be finite"),
        (lambda: holm([0.5, 1.5]), ValueError, r"p_values must be in \[0, 1\].* got 1.5"),
        (lambda: holm(["a"]), TypeError, "p_values must hold real numbers"),
        (lambda: frontier([1, 2], [1]), ValueError, "gap and accuracy must have the same shape"),
        (lambda: frontier([[1]], [[1]]), ValueError, "gap and accuracy must have the same shape"),
    ],
)
def test_wrong_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
