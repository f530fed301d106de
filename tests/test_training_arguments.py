"""Wrong arguments, hyperparameters and protocols of the training loop."""

import dataclasses

import jax
import numpy as np
import pytest
from digits_training import BENCHMARK, make_program

from gainjax.training import Protocol, make_layout, train


@pytest.fixture(scope="module")
def stream():
    return BENCHMARK.load()


def test_wrong_arguments_are_refused(stream):
    program = make_program(stream, "ngm-sgd", updates_per_task=2)
    good = BENCHMARK.defaults(program.method)

    def start(seeds=(0,), program=program, values=good, **options):
        return next(train(program, stream, list(seeds), values, **options))

    with pytest.raises(ValueError, match="chunk must be an integer of at least 1"):
        start(chunk=0)
    for seeds in ([], [0.5], [-1], [2**32], [[1]]):
        with pytest.raises(ValueError, match="seeds must be"):
            start(seeds)
    with pytest.raises(ValueError, match="modulate must be 'all' or 'head': got 'tail'"):
        make_program(stream, "sgd", modulate="tail")
    with pytest.raises(ValueError, match="batch_growth must be 'constant' or 'linear'"):
        make_program(stream, "sgd", batch_growth="square")
    with pytest.raises(ValueError, match="layout must be"):
        make_layout("pmap")
    with pytest.raises(ValueError, match="restore must return at most 10 updates: got 11"):
        start(restore=lambda states: (11, jax.tree.map(lambda x: np.zeros(x.shape), states)))
    with pytest.raises(ValueError, match="form must be"):
        dataclasses.replace(program, form="both")
    with pytest.raises(ValueError, match="form='model' needs a model that can be made with"):
        dataclasses.replace(
            program, form="model", model=dataclasses.replace(program.model, twin=None)
        )


def test_wrong_hyperparameters_are_refused(stream):
    program = make_program(stream, "ngm-sgd", updates_per_task=2)
    good = BENCHMARK.defaults(program.method)

    def start(values, seeds=(0,), program=program):
        return next(train(program, stream, list(seeds), values))

    with pytest.raises(ValueError, match="lack sensitivity"):
        start({k: v for k, v in good.items() if k != "sensitivity"})
    with pytest.raises(ValueError, match="no hyperparameter 'momentum'"):
        start(good | {"momentum": 0.9})
    with pytest.raises(ValueError, match=r"shape \(2,\): got shape \(3,\)"):
        start(good | {"decay": np.zeros(3)}, [0, 1])
    with pytest.raises(ValueError, match="learning_rate of ngm-sgd must be finite"):
        start(good | {"learning_rate": np.array([0.1, np.nan])}, [0, 1])
    with pytest.raises(ValueError, match="decay of ngm-sgd must be in"):
        start(good | {"decay": 1.0})
    scheduled = dataclasses.replace(program, schedules=frozenset(["learning_rate"]))
    with pytest.raises(ValueError, match=r"one value per run and update, shape \(1, 10\)"):
        start(good | {"learning_rate": np.full(10, 0.1)}, program=scheduled)
    with pytest.raises(ValueError, match="learning_rate of ngm-sgd must be finite"):
        start(good | {"learning_rate": np.full((1, 10), -0.1)}, program=scheduled)
    borrower = make_program(stream, "replayed-gain", updates_per_task=2)
    values = BENCHMARK.defaults(borrower.method)
    for trace, message in (
        (None, "lack gain_trace"),
        (np.ones((1, 9)), r"one value per run and update, shape \(1, 10\)"),
        (np.zeros((1, 10)), "finite gains > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            start(values | {"gain_trace": trace}, program=borrower)
    in_model = dataclasses.replace(borrower, form="model")
    with pytest.raises(ValueError, match="cannot be in the model"):
        start(values | {"gain_trace": np.ones((1, 10))}, program=in_model)


def test_wrong_protocols_are_refused(stream):
    for field in ("updates_per_task", "batch_size", "eval_every", "seen_every"):
        with pytest.raises(ValueError, match=f"{field} must be an integer of at least 1: got 0"):
            Protocol(**({"updates_per_task": 1, "batch_size": 1} | {field: 0}))
    with pytest.raises(ValueError, match="eval_tasks must be"):
        Protocol(1, 1, eval_tasks="last")
    with pytest.raises(ValueError, match="each of updates_per_task must be an integer of at least"):
        Protocol([3, 0], 1)
    with pytest.raises(ValueError, match="updates_per_task must have a number for each task"):
        Protocol([], 1)
    with pytest.raises(ValueError, match=r"one number for each of the 5 tasks: got \[3, 4\]"):
        make_program(stream, "sgd", updates_per_task=[3, 4]).protocol.task_ends(5)
