"""Benchmarks of the registry, on embedded data and on small generated images."""

import flax.linen as nn
import numpy as np
import pytest

import gainjax
from gainjax.runs.benchmarks import BENCHMARKS, get_benchmark

pytestmark = pytest.mark.exhaustive

SHORT = {"updates_per_task": 6, "batch_size": 16, "seen_every": 3, "dense_updates": 0}


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if "digits" in name])
def test_every_embedded_benchmark_learns(name):
    curves = gainjax.run(name, ["ngm-sgd"], seeds=1, updates_per_task=60, seen_every=60)
    first_task = curves.accuracy.sel(eval_update=60).item()
    assert first_task > 0.85


def test_an_evaluation_subset_is_fixed(tmp_path):
    first, second = (
        gainjax.run("split-digits", ["sgd"], seeds=1, eval_examples=20, **SHORT) for _ in range(2)
    )
    assert first.accuracy.equals(second.accuracy)
    np.testing.assert_allclose(first.accuracy * 20, (first.accuracy * 20).round(), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": nn.Dense(4)}, "model of benchmark 'mine' must have at least 10 outputs"),
        ({"model": nn.Conv(4, (3, 3))}, "model of benchmark 'mine' must have at least 10 outputs"),
        ({"updates_per_task": [3, 4]}, "updates_per_task"),
        ({"modulate": "head", "model": nn.Dense(10)}, "modulate='head' needs a model with a field"),
        ({"uncertainty": 3}, "unknown option 'uncertainty'"),
    ],
)
def test_benchmarks_that_do_not_fit_are_refused(change, message):
    ours = get_benchmark("split-digits")

    def run_mine():
        gainjax.run(ours.replace(**SHORT | {"name": "mine"} | change), ["ngm-sgd"], 1)

    with pytest.raises(ValueError, match=message):
        run_mine()


# --- Image benchmarks, on small generated images --------------------------------------------------


def _generated(folder, name, classes, size, per_class, coarse=None):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", per_class), ("test", 2)):
        labels = np.repeat(np.arange(classes), count)
        tint = rng.integers(0, 200, (classes, 1, 1, 3))[labels]
        noise = rng.integers(0, 56, (len(labels), size, size, 3))
        arrays[f"x_{part}"] = (tint + noise).astype(np.uint8)
        arrays[f"y_{part}"] = labels
        if coarse is not None:
            arrays[f"y_{part}_coarse"] = coarse[labels]
    np.savez(folder / f"{name}.npz", **arrays)


def test_a_small_split_cifar10_runs(tmp_path):
    _generated(tmp_path, "cifar10", 10, 32, 8)
    curves = gainjax.run(
        "split-cifar10-small",
        ["ngm-sgd"],
        seeds=2,
        data_dir=tmp_path,
        updates_per_task=3,
        batch_size=4,
        eval_batch_size=4,
    )
    assert not curves.diverged_update.any()
    assert np.all(curves.gain.values[:, :, 1:] > 1)
    assert curves.sizes["eval_update"] == 15


def test_mini_imagenet_takes_ten_classes_a_task(tmp_path):
    _generated(tmp_path, "mini-imagenet", 100, 84, 10)
    stream = get_benchmark("split-mini-imagenet").load(tmp_path)
    assert stream.train_inputs.shape[1:] == (84, 84, 3)
    assert len(stream.task_end) == 5
    assert stream.train_targets.max() == 49


@pytest.mark.parametrize(
    "name",
    ["split-cifar10", "domain-cifar100", "domain-cifar100-superclasses", "split-mini-imagenet"],
)
def test_missing_images_are_told_with_what_to_do(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="npz"):
        gainjax.run(name, ["sgd"], data_dir=tmp_path)
