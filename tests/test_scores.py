"""Scores of users' own, and runs that diverge under them."""

import jax.numpy as jnp
import numpy as np
import pytest
from small_benchmarks import small

import gainjax
from gainjax.runs.execution import DivergenceWarning

pytestmark = pytest.mark.exhaustive


@pytest.fixture(scope="module")
def regression():
    """Two tasks of opposite sign; the score is minus the squared error, so never above 0."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    tasks = [(x, s * x[:, :1] + 0.1, x[:50], s * x[:50, :1] + 0.1) for s in (1, -1)]

    def loss(outputs, targets):
        return ((outputs - targets) ** 2).mean(-1)

    return gainjax.Benchmark(
        "opposite",
        stream=gainjax.data.domain_incremental(tasks),
        model=gainjax.models.from_functions(
            lambda key, x: ({"w": jnp.zeros((3, 1))}, {}),
            lambda p, s, x, *, train, key: (x @ p["w"], s),
        ),
        loss=loss,
        score=lambda outputs, targets: -loss(outputs, targets),
        updates_per_task=20,
        batch_size=16,
    )


def test_a_diverged_run_has_no_score_and_is_never_the_best(regression):
    with pytest.warns(DivergenceWarning, match="diverged"):
        curves = gainjax.sweep(regression, {"learning_rate": [0.05, 0.03, 1e10]}, ["sgd"], seeds=2)
    diverged = curves.isel(setting=2)
    assert (diverged.diverged_update > 0).all()
    assert np.isnan(diverged.accuracy[:, -1]).all()
    assert not np.isnan(curves.accuracy[:2]).any()
    rows = gainjax.ranking(curves)
    assert rows.index[-1] == diverged.setting.item()
    assert rows.chosen.sum() == 1
    assert np.isnan(rows.anytime_accuracy.iloc[-1])
    # A fraction of a score below 0 means nothing.
    assert rows.avg_sg.isna().all()
    assert gainjax.per_seed(curves).avg_sg.isna().all()
    assert gainjax.table(curves).final_accuracy.notna().tolist() == [True, True, False]


def test_a_score_that_overflows_loses_no_run(regression, tmp_path):
    grid = {"learning_rate": [0.05, 30.0]}
    with pytest.warns(DivergenceWarning):
        curves = gainjax.sweep(regression, grid, ["sgd"], seeds=2, out=tmp_path)
    assert gainjax.load(tmp_path).identical(curves)
    assert not np.isnan(curves.accuracy[0]).any()


def test_a_score_of_ones_own_called_accuracy_need_not_be_a_fraction(tmp_path):
    def accuracy(outputs, targets):
        return 100.0 * (jnp.argmax(outputs, -1) == targets)

    stream = gainjax.get_benchmark("split-digits").load()
    options = {"stream": stream, "updates_per_task": 2, "batch_size": 8}
    curves = gainjax.run(gainjax.Benchmark("percent", score=accuracy, **options), ["sgd"], 1)
    assert curves.attrs["score"] == "own accuracy"
    assert curves.accuracy.max() > 1


@pytest.mark.parametrize("method", ["ngm-sgd", "entropy-lr"])
def test_what_follows_uncertainty_is_refused_where_there_is_none(method, regression):
    with pytest.raises(ValueError, match=f"{method} follows uncertainty, but this benchmark has"):
        gainjax.run(regression, [method], 1)


def test_a_score_that_is_not_finite_is_not_called_a_loss():
    bench = small(score=lambda outputs, targets: jnp.full(len(targets), jnp.nan))
    with pytest.warns(DivergenceWarning, match="update 1: the loss or the score is not finite"):
        gainjax.run(bench, ["sgd"], 1)
