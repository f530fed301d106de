"""Figures of what is measured at the snapshots around a switch: what they draw."""

import io

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from gainjax import analysis

AT = {"setting": ["ngm-sgd", "sgd"], "seed": [0, 1, 2], "snapshot": [20, 21, 25]}
SHAPE = (2, 3, 3)


def measured(*names, low=0.1, **more):
    rng = np.random.default_rng(0)
    arrays = {name: (tuple(AT), rng.uniform(low, 0.9, SHAPE)) for name in names}
    return xr.Dataset(arrays, coords=AT | more, attrs={"switch_update": 20})


@pytest.fixture
def drop():
    found = measured(*analysis.PARTS, "loss", low=-0.2)
    found["loss"] = abs(found["loss"])
    for name in analysis.PARTS:
        found[name][..., 0] = 0  # relative to the snapshot before the switch
    found["accuracy"] = 0.9 - sum(found[name] for name in analysis.PARTS)
    return found


@pytest.fixture
def angles():
    found = measured("old_and_new", "old_norm", "new_norm", "step_and_joint")
    found["step_and_joint"][..., -1] = np.nan
    return found


@pytest.fixture
def curvatures():
    found = measured("gain", weights=["effective", "raw"], rank=[1, 2])
    rng = np.random.default_rng(1)
    dims = (*AT, "weights", "rank")
    return found.assign(eigenvalue=(dims, rng.uniform(1, 9, (*SHAPE, 2, 2))))


def test_the_drop_has_a_bar_for_each_part_and_a_dot_for_the_whole(drop):
    figure = analysis.plot_drop(drop, colors={"head": "#123456"}, labels={"sgd": "plain $"})
    assert [axes.get_title() for axes in figure.axes] == ["NGM-SGD", r"plain \$"]
    for axes, label in zip(figure.axes, AT["setting"], strict=True):
        own = drop.sel(setting=label).mean("seed").isel(snapshot=[1, 2])
        assert [bars.get_label() for bars in axes.containers] == [
            "outputs of new classes", "features", "head"
        ]  # fmt: skip
        for bars, name in zip(axes.containers, analysis.PARTS, strict=True):
            np.testing.assert_allclose([bar.get_height() for bar in bars], own[name])
        # Bars of one sign stand on each other and never overlap: together they are the whole.
        tops = [sum(bars[place].get_height() for bars in axes.containers) for place in range(2)]
        dots = axes.lines[0].get_ydata()
        np.testing.assert_allclose(dots, tops, atol=1e-12)
        before = drop["accuracy"].sel(setting=label).mean("seed")[0]
        np.testing.assert_allclose(dots, before - own["accuracy"], atol=1e-12)
        assert axes.containers[2][0].get_facecolor()[:3] == pytest.approx(
            [0x12 / 255, 0x34 / 255, 0x56 / 255]
        )
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "5"]
    with pytest.raises(ValueError, match="columns must be at least 1: got 0"):
        analysis.plot_drop(drop, 0)
    with pytest.raises(ValueError, match="colors must be of new_outputs, features, head: got"):
        analysis.plot_drop(drop, colors={"heads": "red"})


def test_curvature_in_both_coordinates_has_one_scale(curvatures):
    figure = analysis.plot_curvature(curvatures)
    effective, raw, gain = figure.axes
    for panel, values in (
        (effective, curvatures["eigenvalue"].sel(weights="effective", rank=1)),
        (raw, curvatures["eigenvalue"].sel(weights="raw", rank=1)),
        (gain, curvatures["gain"]),
    ):
        for line, label in zip(panel.lines, AT["setting"], strict=True):
            np.testing.assert_allclose(line.get_ydata(), values.sel(setting=label).mean("seed"))
        assert [tick.get_text() for tick in panel.get_xticklabels()] == ["0", "1", "5"]
    assert effective.get_ylim() == raw.get_ylim()
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["NGM-SGD", "SGD"]


def test_a_seed_that_diverged_is_left_out(curvatures):
    curvatures["eigenvalue"][0, 1] = np.nan
    line = analysis.plot_curvature(curvatures).axes[0].lines[0]
    own = curvatures["eigenvalue"].sel(weights="effective", rank=1, setting="ngm-sgd", seed=[0, 2])
    np.testing.assert_allclose(line.get_ydata(), own.mean("seed"))


def test_drop_and_path_are_means_over_the_seeds_that_never_diverged(drop):
    broken = drop.copy(deep=True)
    for name in (*analysis.PARTS, "accuracy"):  # a loss alone may still be known, or be infinite
        broken[name][0, 1, 2] = np.nan
    broken["loss"][1, 2] = np.nan
    sound = broken.isel(setting=0, seed=[0, 2])
    bars, _ = analysis.plot_drop(broken).axes
    for drawn, name in zip(bars.containers, analysis.PARTS, strict=True):
        heights = [bar.get_height() for bar in drawn]
        np.testing.assert_allclose(heights, sound[name].mean("seed")[1:])
    dots = sound["accuracy"].mean("seed")
    np.testing.assert_allclose(bars.lines[0].get_ydata(), dots[0] - dots[1:])
    first, _, second, _ = analysis.plot_loss_and_accuracy(broken).axes[0].lines
    for line, own in ((first, sound), (second, broken.isel(setting=1, seed=[0, 1]))):
        np.testing.assert_allclose(line.get_xdata(), own["loss"].mean("seed"))
        np.testing.assert_allclose(line.get_ydata(), own["accuracy"].mean("seed"))
    nothing = broken.where(broken["setting"] == "sgd")  # every seed of the other one diverged
    assert not analysis.plot_drop(nothing).axes[0].containers
    assert len(analysis.plot_loss_and_accuracy(nothing).axes[0].lines) == 2


def test_gradients_have_cosines_and_a_ratio_of_lengths(angles):
    left, middle, right = analysis.plot_gradients(angles).axes
    own = angles.sel(setting="sgd")
    np.testing.assert_allclose(left.lines[1].get_ydata(), own["old_and_new"].mean("seed"))
    ratio = np.log10(own["new_norm"] / own["old_norm"]).mean("seed")
    np.testing.assert_allclose(middle.lines[1].get_ydata(), ratio)
    assert middle.yaxis.get_major_formatter()(2, None) == "100"
    # After the last snapshot there is no step.
    assert right.lines[1].get_xdata().tolist() == [0, 1]
    expected = own["step_and_joint"].mean("seed")[:2]
    np.testing.assert_allclose(right.lines[1].get_ydata(), expected)


def test_loss_and_accuracy_are_a_path_that_begins_before_the_switch(drop):
    figure = analysis.plot_loss_and_accuracy(drop, labels={"sgd": "plain"})
    path, start = figure.axes[0].lines[2:]
    own = drop.sel(setting="sgd").mean("seed")
    np.testing.assert_allclose(path.get_xydata(), np.stack([own["loss"], own["accuracy"]], 1))
    np.testing.assert_allclose(start.get_xydata()[0], path.get_xydata()[0])
    assert path.get_label() == "plain"


@pytest.mark.parametrize(
    ("plot", "given", "panels"),
    [
        (analysis.plot_drop, "drop", 2),
        (analysis.plot_curvature, "curvatures", 3),
        (analysis.plot_gradients, "angles", 3),
        (analysis.plot_loss_and_accuracy, "drop", 1),
    ],
)
def test_figures_take_panels_or_a_size(request, plot, given, panels):
    found = request.getfixturevalue(given)
    assert plot(found, size=(5, 3)).get_size_inches().tolist() == [5, 3]
    own = Figure()
    axes = own.subplots(1, panels + 1).tolist()
    wanted = axes[0] if panels == 1 else axes[:panels]
    assert plot(found, axes=wanted) is own
    assert all(panel.lines for panel in axes[:panels])
    assert not axes[-1].lines
    assert len(own.axes) == panels + 1
    assert axes[0].get_legend() is not None
    own.savefig(io.BytesIO())
    with pytest.raises(ValueError, match="size belongs to the figure of axes"):
        plot(found, axes=wanted, size=(5, 3))
    with pytest.raises(ValueError, match="labels must be of ngm-sgd, sgd: got one of 'adam'"):
        plot(found, labels={"adam": "Adam"})
