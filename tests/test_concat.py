"""Joined curves: what was cut is whole again, and what does not belong together is told apart."""

import itertools
import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from interruptions import numbers
from synthetic import synthetic_curves, synthetic_sweep
from test_plots import png

import gainjax
from gainjax import concat, from_curves
from gainjax.curves import swept_names


@st.composite
def cuts(draw, length):
    inner = draw(st.sets(st.integers(1, length - 1), min_size=1, max_size=3))
    return list(itertools.pairwise([0, *sorted(inner), length]))


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from(["setting", "seed"]), st.booleans())
def test_joining_what_was_cut_is_the_whole(data, dim, is_sweep):
    make = synthetic_sweep if is_sweep else synthetic_curves
    whole = make(seeds=4, tasks=2, updates_per_task=6, diverged=[("sgd", 1, 5)])
    parts = [
        whole.isel({dim: slice(*cut)}).assign_attrs(wall_time_seconds=0.0)
        for cut in data.draw(cuts(whole.sizes[dim]))
    ]
    parts[0].attrs["wall_time_seconds"] = whole.attrs["wall_time_seconds"]
    joined = concat(parts, dim)
    xr.testing.assert_identical(joined, whole)
    assert {k: v.dtype for k, v in joined.variables.items()} == {
        k: v.dtype for k, v in whole.variables.items()
    }
    assert swept_names(joined) == swept_names(whole)


def test_what_does_not_belong_together_is_told_apart():
    curves = synthetic_curves(["sgd", "adam"], seeds=2, tasks=2, updates_per_task=20)
    other = synthetic_curves(["msgd"], seeds=2, tasks=2, updates_per_task=10)
    with pytest.raises(
        ValueError, match=r"differ in protocol\.updates_per_task, eval_updates, task_"
    ):
        concat([curves, other], "setting")
    with pytest.raises(ValueError, match="different settings: 'sgd' occurs twice"):
        concat([curves, curves], "setting")
    with pytest.raises(ValueError, match="different seeds: 0 occurs twice"):
        concat([curves, curves], "seed")
    with pytest.raises(ValueError, match=r"differ in settings\[adam\]"):
        concat([curves, curves.sel(setting=["sgd"])], "seed")
    with pytest.raises(ValueError, match="differ in seeds"):
        concat([curves, curves.sel(seed=[0])], "setting")
    with pytest.raises(ValueError, match=r"dim must be one of .*got 'method'"):
        concat([curves, curves], "method")
    with pytest.raises(ValueError, match="at least two datasets"):
        concat([curves], "seed")
    spec = json.loads(curves.attrs["spec"])
    for change, message in (
        ({"data": "other"}, 'differ in data:\n  data: "0123abcd" -> "other"'),
        ({"form": "model"}, 'differ in form:\n  form: nothing -> "model"'),
    ):
        changed = curves.sel(seed=[1]).assign_attrs(spec=json.dumps(spec | change))
        with pytest.raises(ValueError, match="do not belong together") as caught:
            concat([curves.sel(seed=[0]), changed], "seed")
        assert str(caught.value) == f"curves do not belong together: they {message}"
    named = from_curves({"er": np.ones((2, 40, 1))}, eval_updates=range(1, 41), task_ends=[20, 40])
    with pytest.raises(ValueError, match='benchmark: "synthetic" -> "curves"'):
        concat([curves, named], "setting")


def test_programs_of_one_method_must_be_the_same_where_they_can_be_compared():
    curves = synthetic_curves(["sgd"], seeds=2, tasks=2, updates_per_task=6)
    spec = json.loads(curves.attrs["spec"])

    def with_program(seed, program, **environment):
        attrs = {"spec": json.dumps(spec | {"programs": {"sgd": {"": program}}})}
        if environment:
            attrs["environment"] = json.dumps(environment)
        return curves.sel(seed=[seed]).assign_attrs(attrs)

    with pytest.raises(ValueError, match=r"differ in programs\.sgd"):
        concat([with_program(0, "a"), with_program(1, "b")], "seed")
    first, second = {"jax": "1", "float": "float32"}, {"jax": "2", "float": "float32"}
    joined = concat([with_program(0, "a", **first), with_program(1, "b", **second)], "seed")
    environment = json.loads(joined.attrs["environment"])
    assert environment == {"float": "float32", "parts": [first, second]}
    assert joined.attrs["wall_time_seconds"] == 3


def test_sweeps_with_different_hyper_parameters_can_be_joined():
    sweep = synthetic_sweep(seeds=2, tasks=2, updates_per_task=6)
    has_sensitivity = sweep.sensitivity.notnull().values
    parts = sweep.isel(setting=has_sensitivity), sweep.isel(setting=~has_sensitivity)
    joined = concat([parts[0], parts[1].drop_vars("sensitivity")], "setting")
    xr.testing.assert_identical(joined.drop_attrs(), sweep.drop_attrs())


def test_gains_of_different_names_can_be_joined():
    curves = synthetic_curves(["sgd", "adam"], seeds=2, tasks=2, updates_per_task=6)
    dims, shape = ("setting", "seed", "update", "group"), (1, 2, 12, 2)
    first = curves.sel(setting=["sgd"]).assign(gains=(dims, np.full(shape, 1.5)))
    second = curves.sel(setting=["adam"]).assign(gains=(dims, np.full(shape, 2.5)))
    first, second = first.assign_coords(group=["a", "b"]), second.assign_coords(group=["b", "c"])
    joined = concat([first, second], "setting").gains
    assert joined.group.values.tolist() == ["a", "b", "c"]
    assert (joined.sel(setting="sgd", group="b") == 1.5).all()
    assert joined.sel(setting="sgd", group="c").isnull().all()
    png(gainjax.plot_curves(concat([first, second], "setting")))


@pytest.mark.slow
def test_curves_from_elsewhere_in_one_table_with_a_run():
    accuracy = np.random.default_rng(0).uniform(size=(2, 15, 1))
    updates = list(range(10, 160, 10))
    foreign = gainjax.from_curves(
        {"er": accuracy}, eval_updates=updates, task_ends=[100, 150], seeds=[0, 1],
        seen_accuracy=None,
    )  # fmt: skip
    assert "train_loss" not in foreign
    frame = gainjax.per_seed(foreign)
    assert frame.seed.tolist() == [0, 1]
    other = gainjax.from_curves(
        {"mine": accuracy[::-1]}, eval_updates=updates, task_ends=[100, 150], seeds=[0, 1]
    )
    both = gainjax.concat([foreign, other], "setting")
    assert list(gainjax.table(both).index) == ["er", "mine"]
    with pytest.raises(ValueError, match="'er' occurs twice"):
        gainjax.concat([both, foreign], "setting")


@pytest.mark.slow
def test_seeds_are_added_by_concat_as_by_extend(tmp_path):
    options = {"updates_per_task": 3, "eval_examples": 20}
    a = gainjax.run("split-digits", ["sgd"], seeds=2, **options)
    b = gainjax.run("split-digits", ["sgd"], seeds=range(2, 4), **options)
    both = gainjax.concat([a, b], "seed")
    gainjax.run("split-digits", ["sgd"], seeds=2, out=tmp_path, **options)
    extended = gainjax.run("split-digits", ["sgd"], seeds=4, out=tmp_path, extend=True, **options)
    assert numbers(extended).identical(numbers(both))
    assert gainjax.load(tmp_path).identical(extended)
