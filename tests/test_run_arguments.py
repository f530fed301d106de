"""Arguments of runs: how they are resolved, and wrong ones."""

import pytest

import gainjax
from gainjax.methods import as_methods
from gainjax.runs.benchmarks import get_benchmark
from gainjax.runs.settings import resolve_hyperparameters

pytestmark = pytest.mark.exhaustive

SHORT = {"updates_per_task": 6, "batch_size": 16, "seen_every": 3, "dense_updates": 0}


def test_hyperparameters_are_resolved_from_general_to_special():
    mnist = get_benchmark("rotated-mnist")
    settings = resolve_hyperparameters(
        mnist,
        as_methods(["ngm-sgd", "msgd", "adam"]),
        {"learning_rate": 0.5, "adam": {"learning_rate": 0.1, "b1": 0.8}},
    )
    assert settings["ngm-sgd"]["sensitivity"] == 0.5
    assert [values["learning_rate"] for values in settings.values()] == [0.5, 0.5, 0.1]
    assert settings["adam"]["b1"] == 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"benchmark": "split-mnits"}, "did you mean 'split-mnist'"),
        ({"methods": ["ngm"]}, "unknown method 'ngm'"),
        ({"methods": ["adma"]}, "did you mean 'adam'"),
        ({"methods": "sgd"}, "methods must be a list"),
        ({"methods": []}, "methods must be a list"),
        ({"methods": ["sgd", "sgd"]}, "methods must be a list of different names"),
        ({"seeds": 0}, "seeds must be an integer of at least 1"),
        ({"seeds": []}, "seeds must be a list"),
        ({"seeds": [1, 1]}, "seeds must be a list of different"),
        ({"hyperparameters": {"lr": 0.1}}, "no method has a hyperparameter 'lr'"),
        ({"hyperparameters": {"sgd": {"momentum": 0.1}}}, "sgd has no hyperparameter 'momentum'"),
        ({"hyperparameters": {"adam": {"b1": 0.1}}}, "not among the methods"),
        ({"hyperparameters": {"learning_rate": -1}}, "learning_rate of sgd must be"),
        ({"hyperparameters": {"learning_rate": float("nan")}}, "learning_rate of sgd must be"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"eval_examples": 0}, "eval_examples"),
        ({"chunk": 0}, "chunk must be an integer of at least 1"),
        ({"chunk": 1.5}, "chunk must be an integer"),
        ({"eval_every": 1.5}, "eval_every must be an integer"),
        ({"seeds": [0.2, 1.7]}, "each of the seeds must be an integer"),
        ({"seeds": 2.0}, "seeds must be an integer"),
        (
            {"hyperparameters": {"learning_rate": "0.1"}},
            "learning_rate must be a number or a schedule: got '0.1'",
        ),
        (
            {"hyperparameters": {"learning_rate": [0.1]}},
            "learning_rate must be a number or a schedule",
        ),
        ({"regime": "replay", "batch_size": 1}, "batch_size must be at least 2 for a replay"),
        (
            {"regime": "replay", "buffer": "balanced", "buffer_size": 9},
            "buffer_size must be at least 10, one example of each class",
        ),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gainjax.run(**({"benchmark": "split-digits", "methods": ["sgd"]} | SHORT | arguments))
