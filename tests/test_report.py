"""Tables: every number is that of the curves, every flag is earned, everything fits."""

import os

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from printing import printed
from synthetic import TITLES, synthetic_curves, synthetic_sweep, with_names

from gainjax import curves as results
from gainjax import show as report
from gainjax.show.sheets import comparison_sheet

ENDS = (200, 400, 600, 800, 1000)


@pytest.fixture(scope="module")
def curves():
    return synthetic_curves()


def test_numbers_are_those_of_the_curves_on_disk(curves, tmp_path):
    rows = report.table(results.load(results.save(curves, tmp_path)))
    assert list(rows.index) == ["ngm-sgd", "sgd", "msgd", "adam"]
    for method in rows.index:
        accuracy = curves.sel(setting=method).accuracy.values[..., 0].astype(float)
        before = accuracy[:, np.array(ENDS[:-1]) - 1]
        lowest = np.stack([accuracy[:, t : t + 200].min(axis=1) for t in ENDS[:-1]], axis=1)
        gaps = ((before - lowest) / before).mean(axis=1)
        row = rows.loc[method]
        assert row["avg_sg"] == pytest.approx(gaps.mean())
        low, high = scipy.stats.ttest_1samp(gaps, 0).confidence_interval()
        assert [row["avg_sg_low"], row["avg_sg_high"]] == pytest.approx([low, high])
        mean = accuracy.mean(axis=0)
        dips = [1 - mean[t : t + 200].min() / mean[t - 1] for t in ENDS[:-1]]
        assert row["avg_sg_mean_curve"] == pytest.approx(np.mean(dips))
        assert row["avg_acc"] == pytest.approx(accuracy[:, np.array(ENDS) - 1].mean())
        seen = curves.sel(setting=method).seen_accuracy.values.astype(float)
        between = [  # every tenth update is measured
            np.interp(np.arange(end - 199, end + 1), np.arange(end - 190, end + 1, 10), part)
            for end, part in zip(ENDS, np.split(seen.mean(axis=0), 5), strict=True)
        ]
        assert row["anytime_accuracy"] == pytest.approx(np.mean(between))
        assert row["final_accuracy"] == pytest.approx(seen[:, -1].mean())
        assert (row["seeds"], row["diverged"]) == (5, 0)


def test_the_order_of_dimensions_does_not_matter(curves):
    pd.testing.assert_frame_equal(report.table(curves.transpose(...)), report.table(curves))
    turned = curves.transpose("eval_task", "seen_update", ..., "seed", "update", "setting")
    pd.testing.assert_frame_equal(report.table(turned), report.table(curves))


def test_published_numbers_come_out_of_the_published_curves(shared):
    arrays = np.load(shared / "reference" / "authors_curves.npz", allow_pickle=False)
    published = {  # avg-ACC, avg-min-ACC, WC-ACC, avg-SG
        "ENTROPY_GAIN": (0.99018, 0.83421, 0.86374, 0.019),
        "SGD": (0.98302, 0.77404, 0.81405, 0.008),
        "MSGD": (0.99085, 0.58083, 0.66148, 0.270),
    }
    template = synthetic_curves(methods=["ngm-sgd", "sgd", "msgd"])
    template = with_names(template, list(published))
    accuracy = np.stack([arrays[f"splitMNIST/{name}/acc_test"] for name in published])[..., None]
    accuracy = accuracy / 100 if accuracy.max() > 1.5 else accuracy
    rows = report.table(template.assign(accuracy=(template.accuracy.dims, accuracy)))
    for name, (avg_acc, _, _, avg_sg) in published.items():
        assert rows.loc[name, "avg_acc"] == pytest.approx(avg_acc, abs=1e-5)
        assert rows.loc[name, "avg_sg_mean_curve"] == pytest.approx(avg_sg, abs=5e-4)
    # Minima are of each seed here, and of the mean curve there: never above.
    for name, (_, min_acc, wc_acc, avg_sg) in published.items():
        assert min_acc - 0.01 < rows.loc[name, "min_acc"] <= min_acc + 1e-5
        assert wc_acc - 0.01 < rows.loc[name, "wc_acc"] <= wc_acc + 1e-5
        assert rows.loc[name, "avg_sg"] >= avg_sg - 5e-4


def test_de_lange_needs_all_tasks(curves):
    every = synthetic_curves(eval_tasks=5)
    rows = report.table(every, "de-lange")
    assert "avg_sg" not in rows
    at_end = every.accuracy.isel(eval_update=-1)
    np.testing.assert_allclose(rows["de_lange_acc"], at_end.mean(["seed", "eval_task"]), rtol=1e-6)
    both = report.table(every)
    assert {"avg_sg", "de_lange_acc", "windowed_forgetting"} <= set(both.columns)
    with pytest.raises(ValueError, match="accuracy must"):
        report.table(curves, "de-lange")
    with pytest.raises(ValueError, match="convention must be one of"):
        report.table(curves, "mine")
    text = printed(every)
    assert "Rodriguez-Garcia" in text
    assert "De Lange" in text
    assert "De Lange" not in printed(curves)
    assert "avg-SG" not in printed(every, convention="de-lange")


def test_one_seed_has_no_intervals():
    single = synthetic_curves(seeds=1)
    rows = report.table(single)
    assert rows.filter(regex="_(low|high)$").isna().all().all()
    assert rows[["avg_sg", "final_accuracy"]].notna().all().all()
    text = printed(single)
    assert "one seed, so no intervals" in text
    assert "nan" not in text.lower()
    assert "–" not in text
    assert "±0" not in text


def test_recovery_is_flagged_when_it_never_came(curves):
    assert "≥" not in printed(curves).split("avg-SG:")[0]
    lost = curves.accuracy.copy()
    last_task = (curves.eval_update > 800) & (curves.method == "sgd") & (curves.seed == 2)
    stuck = curves.assign(accuracy=lost.where(~last_task, 0.5))
    rows = report.table(stuck)
    assert rows.loc["sgd", "recovered"] == pytest.approx(1 - 1 / 20)
    assert (rows.drop("sgd")["recovered"] == 1).all()
    flagged = [line for line in printed(stuck).splitlines() if "≥" in line]
    assert flagged[0].startswith(" SGD")
    assert len(flagged) == 2  # the row and the footnote


def test_diverged_seeds_are_flagged():
    broken = synthetic_curves(diverged=[("msgd", 3, 450), ("msgd", 1, 250)])
    rows = report.table(broken)
    assert rows["diverged"].tolist() == [0, 0, 2, 0]
    assert rows.loc["msgd", "final_accuracy"] < 0.6
    text = printed(broken)
    assert "2/5" in text
    assert "diverged: the loss became infinite or NaN" in text
    assert "diverged" not in printed(synthetic_curves())
    everything = synthetic_curves(diverged=[("sgd", seed, 1) for seed in range(5)])
    assert report.table(everything).loc["sgd", "avg_acc"] == 0
    assert "nan" not in printed(everything)


def test_the_frontier_unmasks_what_does_not_learn(curves):
    rows = report.table(curves)
    assert rows["frontier"].tolist() == [True, False, True, False]
    assert [name for name in rows.index if f" {TITLES[name]}†" in printed(curves)] == [
        "ngm-sgd",
        "msgd",
    ]
    blind = curves.isel(seen_update=slice(0))
    assert not {"frontier", "anytime_accuracy"} & set(report.table(blind).columns)
    assert "†" not in printed(blind)
    assert "anytime" not in printed(blind)


@pytest.mark.parametrize("width", [100, 80])
def test_it_fits_and_no_number_is_cut(width):
    wide = synthetic_curves(eval_tasks=5, diverged=[("adam", 0, 300)])
    lines = printed(wide, width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


def test_names_are_no_markup(curves):
    named = with_names(curves, ["[red]a", "b]", "[/]", "d|e\x1b[31m"])
    text = printed(named.assign_attrs(benchmark="[x]\x07"))
    assert all(name in text for name in ("[red]a", "b]", "[/]", "[x]�, 5 tasks", "d|e�[31m"))
    assert "\x1b" not in text


def test_names_are_no_formulas_and_no_paths(tmp_path):
    sweep = synthetic_sweep({"ngm-sgd": ((0.01, 0.1), (0.2, 0.4))}, seeds=2, tasks=2)
    label = "../../$a_$"
    named = sweep.assign_coords(method=("setting", [label] * 4), title=("setting", [label] * 4))
    names = [path.name for path in report.write_sweep(named.assign_attrs(benchmark="$"), tmp_path)]
    assert names[-1] == "heatmap-a_.pdf"
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    report.write(named.assign_attrs(benchmark="$b$"), tmp_path / "run")


def test_the_default_console_is_standard_output(curves, capsys):
    report.print_table(curves)
    out = capsys.readouterr().out
    assert "MSGD†" in out
    assert 90 < max(map(len, out.splitlines())) <= 100


def test_files(curves, tmp_path):
    paths = report.write(curves, tmp_path / "run")
    names = ["curves.png", "curves.pdf", "table.csv", "table.md", "comparison.csv"]
    assert [path.name for path in paths] == names
    assert sorted(os.listdir(tmp_path / "run")) == sorted(path.name for path in paths)
    png, pdf, csv, markdown, comparison = paths
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")
    pd.testing.assert_frame_equal(pd.read_csv(csv, index_col="setting"), report.table(curves))
    text = markdown.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4 + 2 + 3
    assert [row.count("|") for row in rows] == [10] * 6 + [6] * 5
    pd.testing.assert_frame_equal(
        pd.read_csv(comparison, index_col="setting"), report.comparison(curves)
    )
    assert f"{100 * report.table(curves).loc['adam', 'wc_acc']:.2f} [" in text


def test_files_that_cannot_be_written(curves, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write.*curves\.png"):
        report.write(curves, tmp_path / "file")


def test_a_run_without_a_switch_is_refused():
    with pytest.raises(ValueError, match="at least 2 tasks"):
        report.table(synthetic_curves(tasks=1))


def test_differences_are_printed_if_there_are_any(curves):
    rows = report.comparison(curves)
    text = printed(curves).split("Differences from NGM-SGD, paired by seed")[1]
    line = text[text.index(" SGD") :].splitlines()[0]
    assert f"+{rows.loc['sgd', 'avg_sg']:.3f} " in line
    assert f"{100 * rows.loc['sgd', 'min_acc']:.1f} " in line
    assert f"[+{rows.loc['sgd', 'avg_sg_low']:.3f}, +{rows.loc['sgd', 'avg_sg_high']:.3f}]" in line
    notes = " ".join(text.split())
    assert "p=" not in text
    assert "no p-values: with 5 seeds the smallest possible p is 0.0625" in notes
    assert "nothing can be significant at 5 % with fewer than 6 seeds" in notes
    eight = " ".join(printed(synthetic_curves(seeds=8)).split("Differences")[1].split())
    assert "p=" in eight
    assert "corrected for the 12 tests" in eight
    assert "with 8 seeds the smallest possible p is 0.00781" in eight
    assert "after correction with fewer than 9 seeds" in eight
    enough = synthetic_curves(seeds=9, methods=["ngm-sgd", "sgd"])
    assert "smallest possible p" not in printed(enough)
    for alone in (synthetic_curves(seeds=1), synthetic_curves(methods=["sgd"])):
        assert "Differences" not in printed(alone)


def test_notes_count_the_tests_that_were_made_and_know_random_patterns():
    def note(curves):
        return comparison_sheet(curves, None, 1).notes[0]

    curves = synthetic_curves(["ngm-sgd", "sgd", "adam"], seeds=8)
    assert "exact paired sign-flip test, corrected for the 8 tests" in note(curves)
    unseen = curves.copy(deep=True)
    unseen.seen_accuracy[2] = np.nan  # 2 of 4 metrics were not recorded
    assert "corrected for the 6 tests" in note(unseen)
    many = note(synthetic_curves(["ngm-sgd", "sgd"], seeds=17, tasks=2, updates_per_task=20))
    assert "p: paired sign-flip test" in many
    unseen.accuracy[1:] = np.nan
    unseen.seen_accuracy[1:] = np.nan
    assert "no p-values: no metric has 6 pairs of seeds" in note(unseen)


def test_differences_follow_the_convention():
    every = synthetic_curves(eval_tasks=5)
    text = printed(every, convention="de-lange").split("Differences from NGM-SGD")[1]
    assert "WF10" in text
    assert "avg-SG" not in text
    blind = printed(synthetic_curves().isel(seen_update=slice(0))).split("Differences")[1]
    assert "avg-SG" in blind
    assert "anytime" not in blind


def test_a_run_without_comparison_has_no_such_file(tmp_path):
    paths = report.write(synthetic_curves(methods=["sgd"]), tmp_path)
    assert [path.name for path in paths] == ["curves.png", "curves.pdf", "table.csv", "table.md"]
