"""Properties of the metrics, which hold for all curves."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from random_curves import streams

from gainjax.metrics import (
    average_accuracy,
    average_min_accuracy,
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
