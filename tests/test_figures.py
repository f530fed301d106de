"""Figures for papers: sizes, colors and names of one's own, panels of one's own, and files."""

import pytest
from matplotlib.figure import Figure
from synthetic import synthetic_curves, synthetic_sweep

import gainjax
from gainjax.cli import main


@pytest.fixture(scope="module")
def curves():
    return synthetic_curves(seeds=3, tasks=3, updates_per_task=50)


def texts(figure):
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [text.get_text() for legend in legends if legend for text in legend.get_texts()]


def colors(figure):
    return {line.get_color() for axes in figure.axes for line in axes.lines}


PLOTS = [gainjax.plot_accuracy, gainjax.plot_curves, gainjax.plot_frontier]


@pytest.mark.parametrize("plot", PLOTS)
def test_colors_labels_and_sizes_are_those_given(curves, plot):
    figure = plot(curves, colors={"sgd": "tab:pink"}, labels={"sgd": "ours $x$"}, size=(4, 2.5))
    assert figure.get_size_inches().tolist() == [4, 2.5]
    assert "tab:pink" in colors(figure)
    assert "#0072B2" not in colors(figure)  # what sgd has by default
    titles = [axes.get_title() for axes in figure.axes]
    assert r"ours \$x\$" in texts(figure) + titles


@pytest.mark.parametrize("plot", PLOTS)
def test_what_is_not_there_cannot_be_colored_or_named(curves, plot):
    with pytest.raises(ValueError, match=r"colors must be of ngm-sgd, .*'lion'"):
        plot(curves, colors={"lion": "red"})
    with pytest.raises(ValueError, match="labels must be of"):
        plot(curves, labels={"lion": "Lion"})
    with pytest.raises(ValueError, match="'no color'"):
        plot(curves, colors={"sgd": "no color"})


@pytest.mark.parametrize("plot", PLOTS[1:])
def test_a_panel_can_be_part_of_a_figure_of_ones_own(curves, plot):
    own = Figure()
    left, right = own.subplots(1, 2)
    assert plot(curves, axes=left) is own
    assert left.lines
    assert not right.lines
    assert len(own.axes) == 2
    assert len(texts(own)) == 4
    with pytest.raises(ValueError, match="size belongs to the figure of axes"):
        plot(curves, axes=left, size=(3, 3))


def test_a_panel_inside_a_subfigure_draws_labels_of_rates():
    sweep = synthetic_sweep({"sgd": ((0.01, 0.1, 0.3), (float("nan"),))}, seeds=2)
    own = Figure()
    axes = own.subfigures(1, 2)[0].add_subplot()
    assert gainjax.plot_frontier(sweep, axes=axes) is own
    assert axes.texts


def test_a_heatmap_has_a_size():
    sweep = synthetic_sweep({"ngm-sgd": ((0.01, 0.1), (0.2, 0.4))}, seeds=2)
    figure = gainjax.plot_heatmap(sweep, "ngm-sgd", "learning_rate", "sensitivity", size=(5, 3))
    assert figure.get_size_inches().tolist() == [5, 3]


def test_a_heatmap_has_a_name():
    sweep = synthetic_sweep({"ngm-sgd": ((0.01, 0.1), (0.2, 0.4))}, seeds=2)
    axes = ("ngm-sgd", "learning_rate", "sensitivity")
    figure = gainjax.plot_heatmap(sweep, *axes, labels={"ngm-sgd": "ours $x$"})
    assert r"ours \$x\$: mean of 2 seeds" in figure.get_supxlabel()
    with pytest.raises(ValueError, match="labels must be of ngm-sgd: got one of 'lion'"):
        gainjax.plot_heatmap(sweep, *axes, labels={"lion": "Lion"})


def test_panels_of_ones_own_hold_a_setting_each(curves):
    own = Figure()
    *given, spare = own.subplots(1, 5)
    assert gainjax.plot_accuracy(curves, axes=given) is own
    assert [panel.get_title() for panel in given] == ["NGM-SGD", "SGD", "MSGD", "Adam"]
    alone = gainjax.plot_accuracy(curves)
    for panel, other in zip(given, alone.axes, strict=True):
        assert panel.get_ylim() == other.get_ylim()
        assert (panel.lines[0].get_ydata() == other.lines[0].get_ydata()).all()
        assert panel.get_xlabel() == "update"
    assert given[0].get_ylabel() == "accuracy on task 1"
    assert not spare.lines
    with pytest.raises(ValueError, match="axes must be 4 panels, one per setting: got 2"):
        gainjax.plot_accuracy(curves, axes=given[:2])
    with pytest.raises(ValueError, match="size belongs to the figure of axes"):
        gainjax.plot_accuracy(curves, axes=given, size=(3, 3))


def test_a_panel_of_ones_own_shows_no_accuracy_that_cannot_be():
    few = synthetic_curves(seeds=2, tasks=2)  # whose intervals reach far beyond
    axes = Figure().add_subplot()
    gainjax.plot_curves(few, axes=axes)
    assert max(band.get_datalim(axes.transData).y1 for band in axes.collections) > 1.2
    assert axes.get_ylim()[0] >= -0.05
    assert axes.get_ylim()[1] <= 1.05


def test_the_paper_has_a_panel_per_method_with_its_switches(curves):
    figure = gainjax.plot_accuracy(curves)
    assert [axes.get_title() for axes in figure.axes] == ["NGM-SGD", "SGD", "MSGD", "Adam"]
    for axes in figure.axes:
        switches = [line.get_xdata()[0] for line in axes.lines[1:]]
        assert switches == [50.5, 100.5]
    five = synthetic_curves(seeds=1, tasks=2, updates_per_task=20)
    labels = [f"m{i}" for i in range(5)]
    more = gainjax.from_curves(
        dict.fromkeys(labels, five.accuracy.values[0]),
        eval_updates=five.eval_update.values,
        task_ends=[20, 40],
    )
    assert [axes.get_title() for axes in gainjax.plot_accuracy(more).axes] == labels


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["accuracy", "curves", "frontier"])
@pytest.mark.parametrize(
    ("suffix", "head"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_the_command_writes_images(curves, kind, suffix, head, tmp_path, capsys):
    gainjax.save(curves, tmp_path)
    out = tmp_path / "figures" / f"gap.{suffix}"
    main(["figure", str(tmp_path), "--out", str(out), "--kind", kind])
    assert out.read_bytes().startswith(head)
    assert "gap." in capsys.readouterr().out


def test_the_command_knows_what_it_can_write(curves, tmp_path, capsys):
    gainjax.save(curves, tmp_path)
    with pytest.raises(SystemExit):
        main(["figure", str(tmp_path), "--out", str(tmp_path / "gap.docx")])
    assert "must end in one of .pdf, .png, .svg" in capsys.readouterr().err.replace("\n", "")
