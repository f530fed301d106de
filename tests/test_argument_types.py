"""Arguments of the wrong type and misspelt names, for every function."""

import re

import pytest

import gainjax

pytestmark = pytest.mark.exhaustive

SHORT = {"updates_per_task": 3, "batch_size": 16, "eval_examples": 20, "threads": 1}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gainjax.run(None), "benchmark must be a name"),
        (lambda: gainjax.table(None), "curves must be an xarray.Dataset"),
        (lambda: gainjax.per_seed(None), "curves must be an xarray.Dataset"),
        (lambda: gainjax.load(None), "a path must be text"),
        (lambda: gainjax.resume(None), "a path must be text"),
        (lambda: gainjax.concat(None, "seed"), "curves must be a list of datasets"),
        (lambda: gainjax.concat([None, None], "seed"), "curves must be an xarray.Dataset"),
        (lambda: gainjax.run("split-digits", memory="x"), "memory must be a positive number"),
        (lambda: gainjax.run("split-digits", devices=5), "devices must be a list"),
        (lambda: gainjax.run("split-digits", out=5, **SHORT), "a path must be text"),
        (lambda: gainjax.run("split-digits", on_chunk=5), "on_chunk must be a function"),
        (
            lambda: gainjax.run("split-digits", on_chunk=lambda curves: None),
            "on_chunk must take three arguments",
        ),
        (lambda: gainjax.run("split-digits", hyperparameters=5), "must be a mapping"),
        (lambda: gainjax.run("split-digits", hyperparameters=0), "must be a mapping"),
        (lambda: gainjax.run("split-digits", hyperparameters=[]), "must be a mapping"),
        (lambda: gainjax.run("split-digits", chunck=2), "did you mean 'chunk'"),
        (lambda: gainjax.run("split-digits", eval_evry=2), "did you mean 'eval_every'"),
        (lambda: gainjax.run("split-digits", hyperparameter={}), "mean 'hyperparameters'"),
        (
            lambda: gainjax.sweep("split-digits", {"learning_rate": [1.0]}, darws=2),
            "did you mean 'draws'",
        ),
        (
            lambda: gainjax.Benchmark("a", stream=dict, augmnt=None, updates_per_task=1),
            "did you mean 'augment'",
        ),
    ],
)
def test_wrong_types_and_misspelt_names(call, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        call()
