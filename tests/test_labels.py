"""Labels of methods and swept names, whatever they contain."""

import numpy as np
import optax
import pytest
from interruptions import crash, numbers

import gainjax

pytestmark = pytest.mark.exhaustive

SHORT = {"seeds": 2, "updates_per_task": 3, "eval_examples": 20, "threads": 1}


@pytest.mark.parametrize("name", ["task", "avg_sg", "avg_sg_low", "seeds", "diverged", "setting"])
def test_swept_names_that_mean_something_else(name):
    def make(**numbers):
        return optax.sgd(0.1)

    factory = {"task": lambda task=1.0: make(), "avg_sg": lambda avg_sg=1.0: make()}
    factory |= {"avg_sg_low": lambda avg_sg_low=1.0: make(), "seeds": lambda seeds=1.0: make()}
    factory |= {"diverged": lambda diverged=1.0: make(), "setting": lambda setting=1.0: make()}
    trains = {"on_chunk": lambda *_: pytest.fail("it trains")}
    with pytest.raises(ValueError, match=f"must not be called '{name}'"):
        gainjax.sweep("split-digits", {name: [1.0, 0.5]}, {"x": factory[name]}, **SHORT | trains)


def test_labels_with_control_characters():
    trains = {"on_chunk": lambda *_: pytest.fail("it trains")}
    with pytest.raises(ValueError, match="must have no control characters"):
        gainjax.run("split-digits", {"a\x00b": "sgd"}, **SHORT | trains)


@pytest.mark.parametrize(
    "labels", [["a b", "0-a-b"], ["a/b", "a b", "a?b"], ["0-x", "x y", "x-y"], ["é", "è"]]
)
def test_labels_that_make_one_file_name(labels, tmp_path):
    rates = dict(zip(labels, (0.1, 0.01, 0.2), strict=False))
    methods = {label: at_rate(rate) for label, rate in rates.items()}
    curves = gainjax.run("split-digits", methods, out=tmp_path, **SHORT)
    assert curves.setting.values.tolist() == labels
    for label, rate in rates.items():
        alone = gainjax.run("split-digits", {"one": at_rate(rate)}, **SHORT)
        np.testing.assert_array_equal(curves.train_loss.sel(setting=label), alone.train_loss[0])


def at_rate(rate):
    return lambda learning_rate=rate: optax.sgd(learning_rate)


def test_a_number_that_may_be_absent_beside_a_method_of_that_file_name():
    def clipped(learning_rate=0.1, clip=None):
        inner = optax.sgd(learning_rate)
        return inner if clip is None else optax.chain(optax.clip(clip), inner)

    curves = gainjax.sweep(
        "split-digits", {"x": {"clip": [None, 1.0]}}, {"x": clipped, "1-x": clipped}, **SHORT
    )
    assert curves.setting.values.tolist() == ["x clip=none", "x clip=1", "1-x"]
    np.testing.assert_array_equal(curves.train_loss[0], curves.train_loss[2])


def test_a_registered_method_under_another_label_is_found_again(tmp_path):
    wanted = gainjax.run("split-digits", {"plain": "sgd"}, **SHORT)
    crash(5, "split-digits", {"plain": "sgd"}, out=tmp_path, chunk=2, **SHORT)
    resumed = gainjax.resume(tmp_path)
    assert numbers(resumed).identical(numbers(wanted))
