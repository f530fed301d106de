"""What users bring that goes wrong: told before training, or measured as it is."""

import dataclasses
import os
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from interruptions import crash, numbers

import gainjax
from gainjax.runs.execution import DivergenceWarning

pytestmark = pytest.mark.exhaustive

SHORT = {"seeds": 2, "updates_per_task": 3, "eval_examples": 20, "threads": 1}


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


def test_an_optimizer_whose_state_holds_a_random_key(tmp_path):
    def noisy(learning_rate=0.1):
        return optax.chain(
            optax.add_noise(0.01, 0.55, key=jax.random.key(0)), optax.sgd(learning_rate)
        )

    wanted, states = gainjax.run("split-digits", {"noisy": noisy}, return_states=True, **SHORT)
    options = SHORT | {"out": tmp_path, "return_states": True, "chunk": 2}
    crash(9, "split-digits", {"noisy": noisy}, **options)
    found, again = gainjax.run("split-digits", {"noisy": noisy}, **options)
    assert numbers(found).identical(numbers(wanted))
    jax.tree.map(np.testing.assert_array_equal, states, again)
    _, kept = gainjax.run("split-digits", {"noisy": noisy}, **options)
    jax.tree.map(np.testing.assert_array_equal, states, kept)


@pytest.mark.parametrize("gain", [None, gainjax.GainDynamics])
@pytest.mark.parametrize(
    "make",
    [
        lambda: optax.lbfgs(memory_size=3),
        lambda: optax.chain(optax.sgd(0.1), optax.scale_by_backtracking_linesearch(5)),
        lambda: optax.polyak_sgd(max_learning_rate=0.1),
    ],
)
def test_line_searches_run(make, gain):
    method = gainjax.Method("searching", make, gain=gain)
    curves = gainjax.run("split-digits", [method], **SHORT)
    assert np.isfinite(curves.train_loss).all()


def test_an_edited_file_is_read_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    text = "import optax\ndef m(learning_rate=0.01): return optax.{}(learning_rate)\n"
    path.write_text(text.format("sgd"))
    first = gainjax.run("split-digits", ["./mine.py:m"], **SHORT)
    path.write_text(text.format("sign_sgd"))
    os.utime(path, ns=(time.time_ns(), time.time_ns()))
    second = gainjax.run("split-digits", ["./mine.py:m"], **SHORT)
    assert not first.train_loss.equals(second.train_loss)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def m(:\n", "SyntaxError"),
        ("raise RuntimeError('no')\n", "RuntimeError: no"),
        ("import nothing_of_this_name\n", "nothing_of_this_name"),
    ],
)
def test_a_file_that_cannot_be_imported(text, message, tmp_path, capsys):
    (tmp_path / "bad.py").write_text(text)
    from gainjax.cli import main

    with pytest.raises(SystemExit):
        main(["run", "split-digits", "--methods", f"{tmp_path}/bad.py:m"])
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_values_of_a_benchmark_for_what_no_method_has():
    stream = gainjax.get_benchmark("split-digits").load()
    options = {"stream": stream, "updates_per_task": 3, "batch_size": 8}

    def start(hyperparameters):
        bench = gainjax.Benchmark("mine", hyperparameters=hyperparameters, **options)
        return gainjax.run(bench, ["sgd"], 1)

    with pytest.raises(ValueError, match="'learning_rte': did you mean 'learning_rate'"):
        start({"learning_rte": 0.5})
    with pytest.raises(ValueError, match="unknown hyperparameter of sgd 'lr'"):
        start({"sgd": {"lr": 3}})
    falling = start({"learning_rate": lambda count: 0.1 / (1 + count)})
    same = gainjax.run(
        gainjax.Benchmark("mine", **options), ["sgd"], 1,
        hyperparameters={"learning_rate": lambda count: 0.1 / (1 + count)},
    )  # fmt: skip
    np.testing.assert_array_equal(falling.train_loss, same.train_loss)


def test_another_stream_has_another_default_network():
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)

    def stream(classes):
        y = np.arange(60) % classes
        return gainjax.data.class_incremental(x, y, x, y, tasks=[[0, 1], range(2, classes)])

    bench = gainjax.Benchmark("mine", stream=stream(3), updates_per_task=3, batch_size=8)
    bench.model_for(bench.load())
    for classes in (4, 5, 3):
        other = bench.replace(stream=stream(classes))
        params, _ = other.model_for(other.load()).init(jax.random.key(0), x[:1])
        assert params["layer_2"]["kernel"].shape[-1] == classes


def test_a_registered_method_under_another_label_is_found_again(tmp_path):
    wanted = gainjax.run("split-digits", {"plain": "sgd"}, **SHORT)
    crash(5, "split-digits", {"plain": "sgd"}, out=tmp_path, chunk=2, **SHORT)
    resumed = gainjax.resume(tmp_path)
    assert numbers(resumed).identical(numbers(wanted))


def test_factories_that_need_plain_numbers_say_which():
    def counted(n=2):
        return optax.chain(*[optax.sgd(0.1) for _ in range(n)])

    with pytest.raises(TypeError, match="'counted' needs a plain number"):
        gainjax.run("split-digits", {"x": counted}, **SHORT)

    def accumulated(learning_rate=0.1, k=2):  # MultiSteps takes any k but an int for a schedule
        return optax.MultiSteps(optax.sgd(learning_rate), k)

    with pytest.raises(TypeError, match="'accumulated' needs a plain number"):
        gainjax.run("split-digits", {"accumulated": accumulated}, **SHORT)

    def doubled(learning_rate=0.1):
        return optax.sgd(learning_rate * 2)

    with pytest.raises(TypeError, match="'doubled' takes no schedule for learning_rate"):
        gainjax.run(
            "split-digits", {"x": doubled},
            hyperparameters={"learning_rate": lambda count: 0.1}, **SHORT,
        )  # fmt: skip


def test_optimizers_that_do_not_fit_a_method_say_why():
    made = gainjax.ngm_sgd(0.1)
    for optimizer, message in (
        (optax.lookahead(made, 2, 0.5), "method x cannot train .*'fast'.*optax.lookahead"),
        (optax.contrib.sam(made, optax.sgd(0.01)), "optax.contrib.sam belongs inside the gain"),
    ):
        with pytest.raises(TypeError, match=message):
            gainjax.run("split-digits", {"x": optimizer}, **SHORT)


def test_an_optimizer_that_names_its_extra_arguments_gets_these():
    def update(grads, state, params=None, *, uncertainty):
        del params
        return jax.tree.map(lambda g: -0.1 * g, grads), uncertainty

    mine = optax.GradientTransformation(lambda params: jnp.zeros(()), update)
    curves = gainjax.run("split-digits", {"mine": mine, "same": optax.sgd(0.1)}, **SHORT)
    np.testing.assert_allclose(*curves.train_loss.values, rtol=1e-6)


def test_seeds_as_arrays():
    for seeds in (np.array(2), jnp.arange(2), np.arange(2), range(2)):
        curves = gainjax.run("split-digits", ["sgd"], **SHORT | {"seeds": seeds})
        assert curves.seed.values.tolist() == [0, 1]


def _small(**options):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), np.arange(40) // 10
    stream = gainjax.data.class_incremental(x, y, x, y, tasks=[[0, 1], [2, 3]])
    return gainjax.Benchmark("b", stream=stream, updates_per_task=4, batch_size=8, **options)


def _linear(dtype=jnp.float32, **more):
    def init(key, x):
        weights = 0.1 * jax.random.normal(key, (x.shape[1], 4))
        return {"kernel": weights.astype(dtype), **more}, {}

    def apply(params, state, x, *, train, key):
        return (x.astype(dtype) @ params["kernel"]).astype(jnp.float32), state

    return gainjax.models.from_functions(init, apply)


def test_models_in_half_precision_are_trained():
    bench = _small(model=_linear(jnp.bfloat16))
    methods = ["sgd", "msgd", "adam", "sgd-ema", "msgd-ncm", "schedule-free"]
    _, states = gainjax.run(
        bench, methods, 2, snapshots=[1, 8], hyperparameters={"learning_rate": 0.1}
    )
    for state in states.values():
        assert state.params["kernel"].dtype == jnp.bfloat16
    first, second = (states[name].params["kernel"] for name in ("sgd", "msgd"))
    np.testing.assert_array_equal(first[:, 0], second[:, 0])  # momentum comes with the second step
    assert (first[:, 1] != second[:, 1]).any()
    average = states["sgd-ema"].opt_state.average["kernel"]
    assert average.dtype == jnp.bfloat16


@pytest.mark.parametrize("method", ["fixed-gain", "ngm-sgd"])
def test_a_gain_keeps_half_precision(method):
    """The first effective weights are the raw ones times the gain, in the dtype of the weights."""
    bench = _small(model=_linear(jnp.bfloat16))
    level = "level" if method == "fixed-gain" else "baseline"
    own = {"hyperparameters": {method: {level: 1.25}}}
    _, states = gainjax.run(bench, [method, "sgd"], 2, snapshots=[0, 8], **own)
    kernel, raw = (states[name].params["kernel"] for name in (method, "sgd"))
    assert kernel.dtype == jnp.bfloat16
    wanted = (1.25 * raw[:, 0].astype(np.float32)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(kernel[:, 0], wanted)


def test_states_in_half_precision_survive_a_crash_and_are_read_again(tmp_path):
    bench = _small(model=_linear(jnp.bfloat16))
    options = {"seeds": 2, "threads": 1, "chunk": 2, "return_states": True}
    wanted = gainjax.run(bench, ["msgd"], **options)
    crash(4, bench, ["msgd"], out=tmp_path, **options)
    for _ in range(2):  # resumed, then read
        curves, states = gainjax.run(bench, ["msgd"], out=tmp_path, **options)
        assert numbers(curves).identical(numbers(wanted[0]))
        assert states["msgd"].params["kernel"].dtype == jnp.bfloat16
        jax.tree.map(np.testing.assert_array_equal, states, wanted[1])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_outputs_in_half_precision_are_measured_in_single_precision(dtype, tmp_path):
    """The loss of a test set, summed in float16, would be infinite, and the gain is rounded."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), np.arange(40) // 10
    many = np.tile(x, (2500, 1)), np.tile(y, 2500)
    stream = gainjax.data.class_incremental(x, y, *many, tasks=[[0, 1], [2, 3]])
    bench = gainjax.Benchmark(
        "b", stream=stream, model=nn.Dense(4, dtype=dtype), updates_per_task=2, batch_size=8
    )
    options = {"seeds": 1, "threads": 1, "hyperparameters": {"sensitivity": 0.4}}
    curves = gainjax.run(bench, ["ngm-sgd"], out=tmp_path, **options)
    exact = gainjax.run(bench.replace(model=nn.Dense(4)), ["ngm-sgd"], **options)
    assert (curves.diverged_update == 0).all()
    for name in ("train_loss", "eval_loss", "gain", "uncertainty"):
        assert curves[name].dtype == np.float32
    np.testing.assert_allclose(curves.eval_loss, exact.eval_loss, rtol=0.02)
    wanted = [1.0]
    for uncertainty in curves.uncertainty.values[0, 0, :-1]:
        wanted.append(0.9 * wanted[-1] + 0.1 + 0.4 * uncertainty)
    decay = bench.defaults(gainjax.get_method("ngm-sgd"))["decay"]
    assert decay == 0.9
    np.testing.assert_allclose(curves.gain[0, 0], wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": _linear(steps=jnp.int32(3))}, r"floating-point: got int32 at \['steps'\]"),
        ({"preprocess": lambda x: x[:1]}, r"preprocess .* an input for each .* returns \(1, 6\)"),
        ({"preprocess": lambda x: x - x.mean(0)}, "preprocess of .* must treat each input indepen"),
        ({"preprocess": lambda x: x.no}, "preprocess of benchmark 'b' cannot take .* AttributeErr"),
        ({"loss": lambda o, t: t}, "loss of benchmark 'b' must return real numbers, of a floating"),
        ({"score": lambda o, t: t * 1j}, "score of benchmark 'b' must return real .* got complex"),
        ({"augment": lambda x: x}, "augment of benchmark 'b' cannot take a key and .* TypeError"),
    ],
)
def test_functions_and_parameters_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        _small(**options)


@pytest.mark.parametrize(
    ("name", "value", "there"),
    [("learning_rate", 1e39, "inf"), ("learning_rate", 1e-46, "0.0"), ("decay", 1 - 1e-9, "1.0")],
)
def test_numbers_that_are_others_in_single_precision(name, value, there):
    with pytest.raises(ValueError, match=f"{name} of ngm-sgd must be .* which is {there} there"):
        gainjax.run(_small(), ["ngm-sgd"], 1, hyperparameters={name: value})


@pytest.mark.parametrize("method", ["ngm-sgd", "entropy-lr"])
def test_what_follows_uncertainty_is_refused_where_there_is_none(method, regression):
    with pytest.raises(ValueError, match=f"{method} follows uncertainty, but this benchmark has"):
        gainjax.run(regression, [method], 1)


def test_a_stream_function_takes_its_keywords_and_heeds_them():
    stream = gainjax.get_benchmark("split-digits").load(eval_examples=20)
    protocol = {"updates_per_task": 2, "batch_size": 8}
    with pytest.raises(TypeError, match="stream of benchmark 'bare' must be a function with the"):
        gainjax.Benchmark("bare", stream=lambda: stream, **protocol)
    deaf = gainjax.Benchmark(
        "deaf", stream=lambda data_dir=None, eval_examples=None: stream, **protocol
    )
    assert deaf.load(eval_examples=20) is stream
    with pytest.raises(ValueError, match="eval_examples=5 has no effect on benchmark 'deaf'"):
        gainjax.run(deaf, ["sgd"], seeds=1, eval_examples=5)
    with pytest.raises(TypeError, match="stream of benchmark 'deaf' must be a function"):
        deaf.replace(stream=lambda: stream)


def test_a_reference_to_a_stream_is_refused_in_one_line(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import gainjax\ndef tasks(): return gainjax.get_benchmark('split-digits').load()\n"
    )
    with pytest.raises(ValueError, match=r"must be a gainjax\.Benchmark, .*of type Stream$"):
        gainjax.get_benchmark(f"{tmp_path}/mine.py:tasks")


def test_an_uncertainty_may_be_a_plain_number():
    curves = gainjax.run(_small(uncertainty=lambda outputs: 0.5), ["ngm-sgd"], 1)
    np.testing.assert_array_equal(curves.uncertainty, np.full((1, 1, 8), 0.5))


def test_a_score_that_is_not_finite_is_not_called_a_loss():
    bench = _small(score=lambda outputs, targets: jnp.full(len(targets), jnp.nan))
    with pytest.warns(DivergenceWarning, match="update 1: the loss or the score is not finite"):
        gainjax.run(bench, ["sgd"], 1)


@pytest.mark.parametrize(
    ("gains", "error", "message"),
    [
        (jnp.ones(3), TypeError, "gains_of of a model must return gains by name, a dict"),
        ({"mine": jnp.ones(3)}, ValueError, r"one real number .* shape \(3,\) for 'mine'"),
        ({"mine": 1j}, ValueError, "one real number .* got complex"),
    ],
)
def test_gains_that_cannot_be_recorded_are_refused_at_once(gains, error, message, tmp_path):
    model = dataclasses.replace(_linear(), gains_of=lambda state: gains)
    with pytest.raises(error, match=message):
        gainjax.run(_small(model=model), ["sgd"], 1, out=tmp_path)


def test_an_optimizer_may_take_some_extra_arguments_only():
    def follows(learning_rate=0.1):
        base = optax.sgd(learning_rate)

        def update(grads, state, params=None, *, uncertainty):
            return base.update(jax.tree.map(lambda g: g * uncertainty, grads), state, params)

        return optax.GradientTransformationExtraArgs(base.init, update)

    bench = _small(uncertainty=lambda outputs: 0.5)
    rates = {"hyperparameters": {"sgd": {"learning_rate": 0.05}}}
    curves = gainjax.run(bench, {"mine": follows, "sgd": "sgd"}, 1, **rates)
    np.testing.assert_allclose(curves.train_loss[0], curves.train_loss[1], rtol=1e-6)


def test_the_default_model_has_the_classes_of_its_stream():
    def tasks(data_dir=None, eval_examples=None):
        classes = int(data_dir)
        x, y = np.zeros((2 * classes, 3)), np.repeat(np.arange(classes), 2)
        halves = [list(range(classes // 2)), list(range(classes // 2, classes))]
        return gainjax.data.class_incremental(x, y, x, y, tasks=halves)

    bench = gainjax.Benchmark("b", stream=tasks, updates_per_task=1, batch_size=2)
    for classes in (4, 6):
        model = bench.model_for(bench.load(str(classes)))
        params, _ = model.init(jax.random.key(0), jnp.zeros((1, 3)))
        assert jax.tree.leaves(params)[-1].shape[-1] == classes
    assert bench.model_for(bench.load("4")) is bench.model_for(bench.load("4"))
