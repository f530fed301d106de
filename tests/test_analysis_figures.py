"""Figures of bursts, levels and timescales."""

import numpy as np
import pytest

from gainjax.analysis import (
    around_switches,
    plot_bursts,
    plot_temperature,
    plot_timescales,
    plot_tonic,
    tonic_comparison,
    tonic_levels,
)


@pytest.mark.exhaustive
def test_the_level_is_drawn_against_complexity(ngm_curves):
    seen = [2, 4, 6, 8, 10]
    table = tonic_comparison({"split": ngm_curves}, {"split": seen})
    figure = plot_tonic(table)
    _, middle, _ = figure.axes
    (points,) = middle.containers
    np.testing.assert_array_equal(points.lines[0].get_xdata(), seen)
    levels = table.groupby("task")["level"].mean()
    np.testing.assert_allclose(points.lines[0].get_ydata(), levels, rtol=1e-12)
    assert plot_tonic(table, axes=figure.axes) is figure
    with pytest.raises(ValueError, match="axes must be 3 panels: got 2"):
        plot_tonic(table, axes=figure.axes[:2])


def test_a_burst_of_one_seed_is_drawn(ngm_curves):
    one = ngm_curves.isel(seed=[1])
    lines = plot_bursts(one).axes[0].lines
    piece = around_switches(one["gain"], one["task_end"], before=12, after=25)
    np.testing.assert_allclose(lines[0].get_ydata(), piece.sel(switch=1).values.ravel())


def test_what_figures_cannot_draw_is_refused_in_words(digits_run, ngm_curves):
    with pytest.raises(ValueError, match="gain of successive updates"):
        plot_temperature(ngm_curves.isel(update=slice(0, None, 10)), 3)
    with pytest.raises(ValueError, match="must be of tonic_comparison: it has no benchmark"):
        plot_tonic(tonic_levels(ngm_curves))
    with pytest.raises(ValueError, match="must have one setting for each benchmark: got several"):
        plot_tonic(tonic_comparison({"split": digits_run[0]}))


def test_figures_draw_into_given_panels(digits_run, ngm_curves):
    figure = plot_bursts(ngm_curves)
    assert plot_bursts(ngm_curves, axes=figure.axes) is figure
    labels = [line.get_label() for line in figure.axes[1].lines]
    assert labels[0] == "gain"
    share = plot_timescales(digits_run[0])
    assert plot_timescales(ngm_curves, axes=share.axes[0]) is share
    tonic = plot_tonic(tonic_comparison({"split": ngm_curves}))
    assert plot_tonic(tonic_comparison({"split": ngm_curves}), axes=tonic.axes) is tonic
    for drawn in (figure, share, tonic):
        drawn.draw_without_rendering()
    assert plot_bursts(ngm_curves, size=(5, 2)).get_size_inches().tolist() == [5, 2]
    named = plot_timescales(ngm_curves, colors={"ngm-sgd": "#123456"}, size=(4, 2))
    assert named.axes[0].lines[0].get_color() == "#123456"
    for plot in (plot_bursts, plot_timescales):
        given = figure.axes if plot is plot_bursts else share.axes[0]
        with pytest.raises(ValueError, match="size belongs to the figure of axes"):
            plot(ngm_curves, axes=given, size=(5, 2))
    with pytest.raises(ValueError, match="at least 2 tasks"):
        plot_bursts(ngm_curves.isel(task_end=[-1]))
