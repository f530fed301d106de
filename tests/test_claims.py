"""The claims that curves decide: values, intervals and verdicts, on runs on digits."""

import json

import numpy as np
import pandas as pd
import pytest

import gainjax
from gainjax.analysis import (
    CLAIMS,
    Claim,
    classes_seen,
    judge_claims,
    plot_claims,
    tonic_levels,
    tonic_trend,
)


@pytest.fixture(scope="module")
def run(digits_run):
    """Curves of a short run on digits."""
    return digits_run[0]


@pytest.fixture(scope="module")
def curves(run):
    return run.sel(setting=["ngm-sgd"])


def test_claims_are_judged_by_the_curves_that_are_there(run):
    found = judge_claims(run).set_index("claim")
    assert list(found.index) == list(CLAIMS)
    measured = found[found["seeds"] > 0]
    assert list(measured.index) == ["burst", "free-decay", "slow-burst", "tonic-rise", "gap"]
    gaps = gainjax.per_seed(run).pivot(index="seed", columns="method", values="avg_sg")
    assert found.loc["gap", "value"] == pytest.approx((gaps["sgd"] - gaps["ngm-sgd"]).mean())
    rows = gainjax.per_seed(run).groupby("method")["anytime_accuracy"].mean()
    cost = found["anytime_difference"]
    assert cost["gap"] == pytest.approx(rows["ngm-sgd"] - rows["sgd"])
    assert cost.drop("gap").isna().all()
    for name in ("burst", "free-decay", "tonic-rise"):
        assert found.loc[name, "verdict"] == "holds"
    assert found.loc["tonic-flat", "verdict"] == "not applicable"
    assert found.loc["with-adam", "verdict"] == "not measured"
    assert found.loc["with-adam", "seeds"] == 0


def test_verdicts_follow_the_interval(curves):
    def verdict(values):
        claim = Claim("c", "s", "ours", ("ngm-sgd",), lambda _: np.array(values), "gain")
        return judge_claims(curves, {"c": claim})["verdict"].item()

    assert verdict([1.0, 1.1, 0.9]) == "holds"
    assert verdict([-1.0, -1.1, -0.9]) == "fails"
    assert verdict([-1.0, 1.0, 0.1]) == "open"
    assert verdict([1.0]) == "open"  # a single seed has no interval


def test_no_verdict_on_a_method_that_diverged(run):
    both = run.sel(setting=["ngm-sgd", "sgd"])
    diverged = both["diverged_update"].copy()
    diverged[1, 2] = 99
    found = claims_of(both.assign(diverged_update=diverged))
    assert found["gap"] == "diverged"
    assert found["burst"] == "holds"


def test_a_method_of_which_every_seed_diverged_is_judged_as_diverged(run):
    both = run.sel(setting=["ngm-sgd", "sgd"])
    diverged = both["diverged_update"].copy()
    diverged[0] = 99
    found = claims_of(both.assign(diverged_update=diverged))
    assert {found[name] for name in ("burst", "free-decay", "tonic-rise", "gap")} == {"diverged"}


@pytest.mark.exhaustive
def test_another_method_with_the_label_of_a_registered_one_decides_nothing():
    methods = {"ngm-sgd": gainjax.get_method("ngm-sgd"), "sgd": gainjax.get_method("lion")}
    curves = gainjax.run("split-digits", methods, 2, updates_per_task=10, progress=False)
    found = claims_of(curves)
    assert found["gap"] == "not measured"
    assert found["free-decay"] == "holds"


def test_a_claim_of_one_seed_is_drawn_halfway(curves):
    table = judge_claims(curves.isel(seed=[0]))
    (axes,) = plot_claims(table).axes
    drawn = [line for line in axes.lines if line.get_label() == "open"]
    assert set(np.abs(np.concatenate([line.get_xdata() for line in drawn]))) == {0.5}


def claims_of(curves):
    return judge_claims(curves).set_index("claim")["verdict"].to_dict()


def test_the_level_is_judged_by_the_claim_for_such_a_stream(curves):
    def verdicts(dataset, **options):
        found = judge_claims(dataset, **options).set_index("claim")["verdict"]
        return found[["tonic-rise", "tonic-flat"]].tolist()

    assert verdicts(curves) == ["holds", "not applicable"]
    assert verdicts(curves, classes=[10] * 5) == ["not applicable", "fails"]
    spec = {**json.loads(curves.attrs["spec"]), "classes_seen": None}  # as in older files
    unknown = curves.assign_attrs(spec=json.dumps(spec))
    assert verdicts(unknown) == ["not measured", "not measured"]
    assert verdicts(unknown, classes=[2, 4, 6, 8, 10]) == ["holds", "not applicable"]
    with pytest.raises(ValueError, match=r"a number for each of the 5 tasks: got \[2, 4\]"):
        judge_claims(curves, classes=[2, 4])


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["split-digits", "permuted-digits"])
def test_curves_record_the_classes_seen(name):
    """Of a custom benchmark, too, so that the claims about the level are judged."""
    bench = gainjax.get_benchmark(name).replace(name="mine", updates_per_task=4)
    curves = gainjax.run(bench, ["ngm-sgd"], 2, progress=False)
    seen = classes_seen(bench.load())
    assert json.loads(curves.attrs["spec"])["classes_seen"] == seen
    grows = max(seen) > seen[0]
    found = judge_claims(curves).set_index("claim")["verdict"]
    assert found["tonic-flat" if grows else "tonic-rise"] == "not applicable"
    assert found["tonic-rise" if grows else "tonic-flat"] != "not applicable"


@pytest.mark.exhaustive
def test_claims_about_two_methods_are_the_differences_of_their_gaps(tmp_path):
    """Of every claim that compares two methods, on trained networks."""
    options = {"updates_per_task": 40, "progress": False}
    own = gainjax.run("permuted-digits", ["ngm-sgd"], 4, out=tmp_path, **options)
    methods = ["sgd", "constant-gain", "msgd", "ngm-msgd", "adam", "ngm-adam", "entropy-lr"]
    methods += ["msgd-reset", "adam-reset"]
    others = gainjax.run("permuted-digits", methods, 4, gain_from=tmp_path, **options)
    spec = json.loads(others.attrs["spec"]) | {"borrowed": None}
    every = gainjax.concat([own, others.assign_attrs(spec=json.dumps(spec))], "setting")
    found = judge_claims(every).set_index("claim")
    gaps = gainjax.per_seed(every).set_index(["method", "seed"])["avg_sg"]
    pairs = {
        "gap": ("ngm-sgd", "sgd"),
        "dynamic": ("ngm-sgd", "constant-gain"),
        "with-momentum": ("ngm-msgd", "msgd"),
        "with-adam": ("ngm-adam", "adam"),
        "not-step-size": ("ngm-sgd", "entropy-lr"),
        "reset-momentum": ("msgd-reset", "msgd"),
        "reset-adam": ("adam-reset", "adam"),
    }
    assert {name for name, claim in CLAIMS.items() if len(claim.methods) == 2} == set(pairs)
    sides = {1: "holds", -1: "fails", 0: "open"}
    for name, (better, reference) in pairs.items():
        differences = (gaps[reference] - gaps[better]).to_numpy()
        assert np.ptp(differences) > 0
        assert found.loc[name, "value"] == pytest.approx(differences.mean(), abs=1e-12)
        half = 3.182446 * differences.std(ddof=1) / 2  # Student's t of 3 degrees, 4 seeds
        low, high = differences.mean() - half, differences.mean() + half
        assert found.loc[name, ["low", "high"]].tolist() == pytest.approx([low, high], rel=1e-4)
        assert found.loc[name, "verdict"] == sides[int(low > 0) - int(high < 0)]
    drawn = plot_claims(found).axes[0]
    assert len(drawn.get_yticklabels()) == found["value"].notna().sum() == 11


@pytest.mark.exhaustive
def test_same_classes_leave_the_tonic_gain_of_a_real_run_flat():
    """At the benchmark's own length: the mean level moves by a few percent over three rotations."""
    rotated = gainjax.run("rotated-digits", ["ngm-sgd"], 4, progress=False)
    levels = tonic_levels(rotated)
    trend = tonic_trend(levels).iloc[0]
    assert trend["flat"]
    assert abs(trend["change"]) < 0.05
    found = judge_claims(rotated).set_index("claim")
    assert found.loc["tonic-rise", "verdict"] == "not applicable"
    assert found.loc["tonic-flat", "verdict"] == "holds"
    table = levels.pivot(index="seed", columns="task", values="level").to_numpy()
    change = 2 * np.polyfit(range(3), table.T, 1)[0] / table.mean(axis=1)
    assert found.loc["tonic-flat", "value"] == pytest.approx(0.1 - np.abs(change).mean())


def test_claims_need_one_setting_for_each_method(run):
    twice = run.sel(setting=["ngm-sgd", "sgd"])
    twice = twice.assign_coords(method=("setting", ["sgd", "sgd"]))
    with pytest.raises(ValueError, match="one setting for each method"):
        judge_claims(twice)


def test_claims_are_drawn_on_their_side_of_zero():
    rows = pd.DataFrame(
        [
            ("A rises.", 0.2, 0.1, 0.4, "holds"),
            ("B falls.", -3.0, -4.0, -2.0, "fails"),
            ("C?", np.nan, np.nan, np.nan, "not measured"),
            ("D is $x$.", 0.1, -0.1, 0.2, "open"),
            ("E, of one seed.", 0.5, np.nan, np.nan, "open"),
        ],
        columns=["statement", "value", "low", "high", "verdict"],
    )
    (axes,) = plot_claims(rows).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["A rises.", "B falls.", r"D is \$x\$.", "E, of one seed."]
    drawn = {line.get_label(): line for line in axes.lines if line.get_marker() != "None"}
    np.testing.assert_allclose(drawn["holds"].get_xydata(), [[0.5, 0]])
    np.testing.assert_allclose(drawn["fails"].get_xydata(), [[-0.75, 1]])
    np.testing.assert_allclose(drawn["open"].get_xydata(), [[0.5, 2], [0.5, 3]])
    (segment,) = axes.collections[0].get_segments()
    np.testing.assert_allclose(segment, [[0.25, 0], [1, 0]])
    assert [text.get_text() for text in axes.texts] == ["+0.2", "-3", "+0.1", "+0.5"]
    assert plot_claims(rows, axes=axes) is axes.figure
    with pytest.raises(ValueError, match="must have a claim with a value: got none"):
        plot_claims(rows.iloc[[2]])
