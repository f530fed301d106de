"""Statistics against SciPy, against plain enumeration, and against what they must obey."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gainjax.statistics import (
    bootstrap_interval,
    frontier,
    holm,
    paired_difference,
    paired_permutation_test,
)

numbers = st.floats(-100, 100).map(lambda x: round(x, 3))
probabilities = st.floats(0, 1)


def seeds(least=1, most=8):
    return hnp.arrays(np.float64, st.integers(least, most), elements=numbers)


# --- bootstrap ---


@pytest.mark.parametrize("count", [5, 20])
def test_interval_agrees_with_scipy(count):
    samples = np.random.default_rng(count).exponential(size=count)
    ours = bootstrap_interval(samples, resamples=100_000)
    theirs = scipy.stats.bootstrap(
        (samples,), np.mean, method="percentile", n_resamples=100_000, batch=10_000, rng=0
    ).confidence_interval
    spread = samples.std() / count**0.5  # both ends are random: agree to 3 % of a standard error
    np.testing.assert_allclose([ours.low, ours.high], theirs, rtol=0, atol=0.03 * spread)


def test_interval_of_three_seeds_is_the_one_of_all_27_resamples():
    samples = np.array([0.0, 1.0, 3.0])
    means = [np.mean(draw) for draw in itertools.product(samples, repeat=3)]
    exact = np.quantile(means, [0.1, 0.9], method="inverted_cdf")
    interval = bootstrap_interval(samples, confidence=0.8)
    np.testing.assert_allclose([interval.low, interval.high], exact)


@settings(deadline=None)
@given(seeds(least=2), st.floats(0.5, 0.99))
def test_interval_lies_within_the_samples_and_moves_with_them(samples, confidence):
    options = {"confidence": confidence, "resamples": 500}
    mean, low, high = bootstrap_interval(samples, **options)
    slack = 1e-9
    assert samples.min() - slack <= low <= high <= samples.max() + slack
    np.testing.assert_allclose(mean, samples.mean())
    moved = bootstrap_interval(2 * samples + 1, **options)
    np.testing.assert_allclose(moved, 2 * np.array([mean, low, high]) + 1, atol=1e-9)
    wider = bootstrap_interval(samples, confidence=0.995, resamples=500)
    assert wider.low <= low + slack
    assert high <= wider.high + slack


def test_interval_is_a_function_of_its_arguments_row_by_row():
    samples = np.random.default_rng(0).normal(size=(3, 2, 5))
    first, again = bootstrap_interval(samples), bootstrap_interval(samples)
    for a, b in zip(first, again, strict=True):
        assert a.shape == (3, 2)
        np.testing.assert_array_equal(a, b)
    for row in np.ndindex(3, 2):
        alone = bootstrap_interval(samples[row])
        np.testing.assert_allclose(alone, [values[row] for values in first])
    assert (bootstrap_interval(samples, seed=1).low != first.low).any()


def test_interval_of_a_single_seed_is_unknown_and_of_equal_seeds_a_point():
    mean, low, high = bootstrap_interval([[0.5], [0.7]])
    np.testing.assert_array_equal(mean, [0.5, 0.7])
    assert np.isnan(low).all()
    assert np.isnan(high).all()
    np.testing.assert_allclose(bootstrap_interval([0.1] * 5), 0.1)


def test_coverage_is_what_the_docstring_says():
    samples = np.random.default_rng(0).normal(size=(4000, 20))
    for count, expected in ((5, 0.84), (20, 0.93)):
        _, low, high = bootstrap_interval(samples[:, :count], resamples=1000)
        assert abs(((low <= 0) & (high >= 0)).mean() - expected) < 0.015


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


def test_paired_difference_joins_interval_and_test():
    rng = np.random.default_rng(1)
    samples, reference = rng.random((3, 6)), rng.random(6)
    found = paired_difference(samples, reference, confidence=0.9)
    interval = bootstrap_interval(samples - reference, confidence=0.9)
    np.testing.assert_array_equal(found[:3], interval)
    np.testing.assert_array_equal(found.p_value, paired_permutation_test(samples, reference))


def test_pairing_removes_what_seeds_share():
    rng = np.random.default_rng(2)
    shared = rng.normal(size=8)
    samples = shared + 0.1 + 0.01 * rng.normal(size=8)
    found = paired_difference(samples, shared)
    alone = bootstrap_interval(samples)
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
        (lambda: bootstrap_interval(0.5), ValueError, r"samples must have shape \(..., seeds\)"),
        (lambda: bootstrap_interval([]), ValueError, "samples must have shape"),
        (lambda: bootstrap_interval([0.5, np.nan]), ValueError, "samples must be finite"),
        (lambda: bootstrap_interval(["a"]), TypeError, "samples must hold real numbers"),
        (lambda: bootstrap_interval([1, 2], confidence=95), ValueError, "confidence must be in"),
        (lambda: bootstrap_interval([1, 2], resamples=0), ValueError, "resamples must be"),
        (lambda: paired_permutation_test([1, 2], [1]), ValueError, "the same seeds"),
        (lambda: paired_permutation_test([1], [np.inf]), ValueError, "reference must be finite"),
        (
            lambda: paired_difference(np.ones((2, 5)), np.ones((3, 5))),
            ValueError,
            "samples and reference must broadcast",
        ),
        (lambda: holm([0.5, 1.5]), ValueError, r"p_values must be in \[0, 1\].* got 1.5"),
        (lambda: holm(["a"]), TypeError, "p_values must hold real numbers"),
        (lambda: frontier([1, 2], [1]), ValueError, "gap and accuracy must have one shape"),
        (lambda: frontier([[1]], [[1]]), ValueError, "gap and accuracy must have one shape"),
    ],
)
def test_wrong_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
