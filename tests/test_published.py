"""Whole runs on real MNIST against the curves that the authors of the method published."""

import numpy as np
import pytest

from gainjax import metrics, run
from gainjax.curves import task_ends

pytestmark = pytest.mark.exhaustive

AUTHORS_NAMES = {"ngm-sgd": "ENTROPY_GAIN", "sgd": "SGD", "msgd": "MSGD"}


@pytest.fixture(scope="module")
def published(shared):
    with np.load(shared / "reference" / "authors_curves.npz", allow_pickle=False) as curves:
        return {
            method: {key: curves[f"splitMNIST/{name}/{key}"] for key in ("acc_test", "gain_out")}
            for method, name in AUTHORS_NAMES.items()
        }


@pytest.fixture(scope="module")
def curves(shared):
    """One seed of the published five; the bounds are those for five."""
    data_dir = shared / "data" / "tfds"
    return run("split-mnist", list(AUTHORS_NAMES), 1, data_dir=data_dir, seen_every=200)


def mean_curve(curves, method):
    accuracy = curves.accuracy.sel(setting=method, eval_task=1).mean("seed").values
    return accuracy, curves.eval_update.values, task_ends(curves)


@pytest.mark.parametrize("method", list(AUTHORS_NAMES))
def test_average_accuracy_is_the_published_one(curves, published, method):
    accuracy, updates, ends = mean_curve(curves, method)
    theirs = published[method]["acc_test"].mean(0) / 100
    difference = metrics.average_accuracy(accuracy, updates, ends) - metrics.average_accuracy(
        theirs, updates, ends
    )
    assert abs(difference) <= 0.003


@pytest.mark.parametrize(
    ("method", "low", "high"),
    [("ngm-sgd", 0.014, 0.026), ("sgd", 0.005, 0.011), ("msgd", 0.25, 0.29)],
)
def test_stability_gap_is_the_published_one(curves, method, low, high):
    gaps = metrics.stability_gap(*mean_curve(curves, method))
    assert low <= gaps.mean() <= high
    if method == "msgd":
        assert gaps[0] >= 0.99


def test_gain_of_each_task_is_the_published_one(curves, published):
    gain = curves.gain.sel(setting="ngm-sgd").mean("seed")
    ours = gain.groupby("task").mean().values
    theirs = published["ngm-sgd"]["gain_out"].mean(0).reshape(5, 200).mean(1)
    np.testing.assert_allclose(ours, theirs, rtol=0.03)
