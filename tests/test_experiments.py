"""Every program of experiments/, on handwritten digits and for a moment only."""

import json
import re
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

import gainjax
from gainjax import get_benchmark, get_method

sys.path.append(str(Path(__file__).resolve().parents[1]))
try:
    from experiments.__main__ import PROGRAMS, main
    from experiments.cifar import largest_comparison
    from experiments.league.claim import write_page as write_claim
    from experiments.league.contest import DIGITS, evaluation, machine, network, stages_due
    from experiments.league.cosine import CosineMLP
    from experiments.league.entries import ENTRIES
    from experiments.league.page import write_page
    from experiments.paper_claims import page as page_of_claims
    from experiments.paper_table import PUBLISHED, compare
    from experiments.tables import PAGES, ROOT, with_tables
    from experiments.tables import TABLES as OF_PAGES
except ImportError:
    pytest.skip("experiments/ is only in a checkout", allow_module_level=True)

TABLES = {  # what each program writes, and how many rows of it on the digits
    "paper-table": {"paper-table": 38, "paper-table-de-lange": 4},
    "other-seeds": {"other-seeds": 2},
    "paper-claims": {"paper-claims": 38},
    "learning-rates": {"learning-rates-split-digits-2-tasks": 8},
    "controls": {"controls-split-digits-2-tasks": 16},
    "sensitivity": {"sensitivity-map": 4, "sensitivity": 2},
    "protocols": {"protocols": 18},
    "cifar": {},  # below
    "cifar-first-switch": {"cifar-first-switch": 2},
    "drop": {
        "drop-split-digits-2-tasks": 6,
        "drop-split-digits-2-tasks-gradients": 6,
        "drop-split-digits-2-tasks-curvature": 3,
    },
    "landscape": {"landscape": 27, "landscape-paths": 9, "landscape-points": 9},
    "digits-learning-rates": {"digits-learning-rates-split-digits-2-tasks": 8},
    "league": {},  # below
    "claim": {"claim-split-digits-2-tasks": 4},
    "sampling": {"sampling": 4},
    "bursts": {
        "bursts": 2,
        "bursts-tonic": 2,
        "bursts-trend": 1,
        "bursts-held-out": 1,
        "bursts-loss": 10,
    },
    "gain-claims": {"gain-claims": 12},
    "level": {"level": 12},
    "replay": {"replay": 6},
}


@pytest.fixture(scope="module", autouse=True)
def _quick_compilation():
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    jax.clear_caches()  # no other test may find what was compiled so


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("experiments")


def run(program, folder):
    main([program, "--smoke", "--runs", f"{folder}/runs", "--results", f"{folder}/results"])


def test_every_program_has_a_smoke_version_here():
    assert [program.__name__.replace("_", "-") for program in PROGRAMS] == list(TABLES)


@pytest.mark.exhaustive
@pytest.mark.parametrize("program", TABLES)
def test_program_writes_its_tables(program, folder):
    run(program, folder)
    for name, rows in TABLES[program].items():
        assert len(pd.read_csv(folder / "results" / f"{name}.csv")) == rows
        made_with = json.loads((folder / "results" / f"{name}.json").read_text())
        assert made_with["seeds"]


@pytest.mark.parametrize("name", PAGES)
def test_tables_of_pages_are_those_of_the_stored_numbers(name):
    text = (ROOT / name).read_text()
    assert with_tables(text) == text, "run python -m experiments tables"
    marks = re.findall(r"<!-- (\S+) -->\n\|", text)
    assert marks
    assert set(marks) <= set(OF_PAGES)


def test_a_table_is_made_anew_between_its_marks(tmp_path):
    (tmp_path / "cifar-first-switch.csv").write_text(
        "method,before,lowest,lowest_update,avg_sg,end,anytime_accuracy\n"
        "sgd,1,0.05,405,-0.0004,0.98765,0.004\n"
    )
    page = "before\n<!-- cifar-first-switch -->\n| old |\n<!-- end -->\nafter\n<!-- end -->\n"
    head, table, tail = re.split(
        r"<!-- (?:cifar-first-switch|end) -->\n", with_tables(page, tmp_path)
    )[:3]
    assert (head, tail) == ("before\n", "after\n")
    *_, row = table.splitlines()
    assert row == "| SGD | 100.0 | 5.0 (update 405) | .000 | 98.8 | .4 |"


@pytest.mark.slow
def test_the_league_adds_what_is_missing_and_makes_its_page(folder, monkeypatch):
    run("league", folder)
    path = folder / "results" / "league-split-digits-2-tasks.csv.gz"
    rows = pd.read_csv(path)
    assert rows["method"].unique().tolist() == ["ngm-sgd", "sgd"]
    stages = rows.groupby(["method", "stage"]).size()
    assert stages["sgd"].to_dict() == {"default": 2, "final": 2, "floor": 2, "tuning": 4}
    page = (folder / "results" / "league.md").read_text()
    assert "On split-digits-2-tasks NGM-SGD has a gap of" in page
    # What is there is not trained again; what is not, is.
    rows[rows["method"] == "ngm-sgd"].to_csv(path, index=False)
    run("league", folder)
    pd.testing.assert_frame_equal(pd.read_csv(path), rows)
    # A default that is another one now is run again, it alone, and in its place.
    other = rows.copy()
    stale = (rows["method"] == "ngm-sgd") & (rows["stage"] == "default")
    other.loc[stale, "setting"] = json.dumps({"learning_rate": 0.5})
    other.loc[stale, "avg_sg"] = 0.5
    other.to_csv(path, index=False)
    run("league", folder)
    pd.testing.assert_frame_equal(pd.read_csv(path), rows)
    monkeypatch.setattr("gainjax.runs.execution.train", None)
    (folder / "results" / "league.md").unlink()
    run("league", folder)
    assert (folder / "results" / "league.md").read_text() == page


def test_the_stored_defaults_of_the_league_are_those_of_the_registry():
    stored = Path(__file__).resolve().parents[1] / "experiments/results"
    for path in stored.glob("league-*.csv.gz"):
        there = set(pd.read_csv(path)["method"])
        for entry in ENTRIES:
            if entry.name in there:
                assert stages_due(path, entry) == (), (path.name, entry.name)


@pytest.mark.exhaustive
def test_runs_of_cifar_come_one_by_one(folder, monkeypatch):
    run("cifar", folder)
    path = folder / "results" / "cifar-split-digits-2-tasks.csv.gz"
    rows = pd.read_csv(path)
    assert rows.groupby(["method", "seed"], sort=False).ngroups == 24
    curves = largest_comparison(path)
    own = gainjax.load(folder / "runs/cifar/split-digits-2-tasks/adam-1")
    one = {"setting": "adam", "seed": 1}
    for name in ("accuracy", "seen_accuracy"):
        np.testing.assert_allclose(curves[name].sel(one), own[name].sel(one), rtol=1e-5)
    # What is there is not trained again.
    monkeypatch.setattr("gainjax.runs.execution.train", None)
    table = folder / "results" / "cifar.csv"
    first = table.read_bytes()
    run("cifar", folder)
    assert table.read_bytes() == first


def test_the_page_of_the_league_is_made_from_its_numbers(tmp_path):
    stored = Path(__file__).resolve().parents[1] / "experiments/results"
    for path in stored.glob("league-*.csv.gz"):
        shutil.copy(path, tmp_path)
    write_page(tmp_path)
    for name in ("league.md", "league.csv"):
        assert (tmp_path / name).read_text() == (stored / name).read_text()


@pytest.mark.parametrize(
    ("stored", "shown", "seeds"),
    [
        ({"ngm-sgd": 2, "sgd": 1, "msgd": 1}, {"ngm-sgd", "sgd", "msgd"}, [0]),
        ({"ngm-sgd": 3, "sgd": 1, "msgd": 3}, {"ngm-sgd", "msgd"}, [0, 1, 2]),
        ({"sgd": 1}, {"sgd"}, [0]),
    ],
)
def test_cifar_shows_the_largest_full_comparison(stored, shown, seeds, tmp_path):
    results = Path(__file__).resolve().parents[1] / "experiments/results"
    rows = pd.read_csv(results / "cifar-split-cifar10-small.csv.gz")
    one = rows[(rows["method"] == "ngm-sgd") & (rows["seed"] == 0)]
    runs = [one.assign(method=m, seed=seed) for m, n in stored.items() for seed in range(n)]
    pd.concat(runs).to_csv(tmp_path / "cifar-mine.csv.gz", index=False)
    curves = largest_comparison(tmp_path / "cifar-mine.csv.gz")
    assert set(curves["setting"].values) == shown
    assert curves["seed"].values.tolist() == seeds
    main(["cifar", "--page-only", "--results", str(tmp_path)])
    assert set(pd.read_csv(tmp_path / "cifar.csv")["method"]) == shown


def test_the_tables_of_cifar_are_made_from_its_curves(tmp_path):
    stored = Path(__file__).resolve().parents[1] / "experiments/results"
    for path in stored.glob("cifar-*.csv.gz"):
        shutil.copy(path, tmp_path)
    main(["cifar", "--page-only", "--results", str(tmp_path)])
    for name in ("cifar.csv", "cifar-switches.csv"):
        assert (tmp_path / name).read_text() == (stored / name).read_text()
    assert {path.name for path in tmp_path.glob("*.png")} == {
        path.name.replace(".csv.gz", ".png") for path in tmp_path.glob("*.csv.gz")
    }


def test_benchmarks_of_the_league_are_shown_together_by_their_images(tmp_path):
    stored = Path(__file__).resolve().parents[1] / "experiments/results/league-split-mnist.csv.gz"
    for name in ("split-mnist", "split-cifar10-small", "split-mini-imagenet"):
        shutil.copy(stored, tmp_path / f"league-{name}.csv.gz")
    write_page(tmp_path)
    told = (tmp_path / "league.md").read_text()
    assert re.findall("## At a glance, (.*)", told) == ["MNIST", "other images"]
    assert re.findall("^Over (.*?):", told, re.M)[2] == "split-cifar10-small, split-mini-imagenet"


def test_the_pages_of_claims_are_made_from_their_tables(tmp_path):
    stored = Path(__file__).resolve().parents[1] / "experiments/results"
    for path in stored.glob("claim-*.csv"):
        shutil.copy(path, tmp_path)
    write_claim(tmp_path)
    assert (tmp_path / "claim.md").read_text() == (stored / "claim.md").read_text()
    told = page_of_claims(pd.read_csv(stored / "paper-claims.csv"))
    assert told == (stored / "paper-claims.md").read_text()


def test_entries_of_the_league_have_seven_settings_that_their_methods_take():
    names = [entry.name for entry in ENTRIES]
    assert len(set(names)) == len(names)
    for entry in ENTRIES:
        assert len(entry.settings) == 7, entry.name
        for setting in entry.settings:
            get_method(entry.method).check(setting)


def test_a_cosine_head_reads_angles():
    model = CosineMLP((5, 4), 0.5, outputs=3)
    x = np.random.default_rng(0).normal(size=(6, 2, 4)).astype(np.float32)
    params = jax.tree.map(np.float64, model.init(jax.random.key(0), x)["params"])
    first, second = (params["body"][f"layer_{i}"]["kernel"] for i in range(2))
    h = np.maximum(np.maximum(x.reshape(6, 8) @ first, 0) @ second, 0)
    norms = np.linalg.norm(h, axis=1)[:, None] * np.linalg.norm(params["kernel"], axis=0)
    expected = 10 * (h @ params["kernel"]) / np.maximum(norms, 1e-9)
    np.testing.assert_allclose(model.apply({"params": params}, x), expected, atol=1e-5)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("benchmark", "name"),
    [
        ("split-digits", "ngm-sgd"),
        ("split-digits", "fixed-gain-ema"),
        *((benchmark, "adagrad-ema+cosine-head") for benchmark in DIGITS),
    ],
)
def test_the_numbers_of_the_league_come_out_again(benchmark, name):
    stored = Path(__file__).resolve().parents[1] / "experiments/results"
    rows = pd.read_csv(stored / f"league-{benchmark}.csv.gz")
    (row,) = rows.query("method == @name and stage == 'final' and seed == 3").to_dict("records")
    (entry,) = (entry for entry in ENTRIES if entry.name == name)
    trained = network(get_benchmark(benchmark), entry)
    setting = {name: json.loads(row["setting"])}
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()
    try:
        curves = gainjax.run(
            trained, {name: entry.method}, [3], hyperparameters=setting, **evaluation(trained)
        )
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
    found = gainjax.per_seed(curves).iloc[0]
    for metric in ("avg_sg", "anytime_accuracy", "final_accuracy"):
        # To the last digit on the processor that they come from; others round otherwise.
        tolerance = 1e-6 if row["machine"] == machine() else 0.05
        np.testing.assert_allclose(found[metric], row[metric], rtol=tolerance, atol=tolerance)


@pytest.mark.exhaustive
def test_program_that_is_run_again_trains_nothing(folder, monkeypatch):
    run("learning-rates", folder)
    table = folder / "results" / "learning-rates-split-digits-2-tasks.csv"
    first = table.read_bytes()
    table.unlink()
    monkeypatch.setattr("gainjax.runs.execution.train", None)
    run("learning-rates", folder)
    assert table.read_bytes() == first


def test_cells_agree_within_the_combined_error():
    keys = {"benchmark": "b", "method": "m"}
    ours = pd.DataFrame(
        [
            keys | {"quantity": q, "value": v, "error": 3.0}
            for q, v in zip("wxyz", [0, 5, 11, 0], strict=True)
        ]
    )
    theirs = pd.DataFrame([keys | {"quantity": q, "value": 0, "error": 4.0} for q in "wxy"])
    rows = compare(ours, theirs)
    assert rows["verdict"].tolist() == ["agrees", "agrees", "no", ""]
    np.testing.assert_allclose(rows["deviation"], [0, 1, 2.2, np.nan])


def test_published_numbers_are_those_of_the_authors_curves(shared):
    published = pd.read_csv(PUBLISHED).set_index(["benchmark", "method", "quantity"])
    with np.load(Path(shared) / "reference" / "authors_curves.npz") as curves:
        gap = (
            1
            - curves["splitMNIST/SGD/acc_test"].mean(0).reshape(5, 200)[1:].min(1)
            / (curves["splitMNIST/SGD/acc_test"].mean(0)[199:999:200])
        )
    assert published.loc[("split-mnist", "sgd", "avg-SG"), "value"] == pytest.approx(
        gap.mean(), abs=1e-4
    )
