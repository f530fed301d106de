"""Examples of what once went silently wrong, or badly: each with its right value or error."""

import contextlib
import errno
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from interruptions import checkpoint_every_chunk, crash, numbers
from rich.console import Console
from synthetic import CHARACTER, synthetic_curves

import gainjax
from gainjax import gain_modulation, get_gain, ngm_sgd, slow_params
from gainjax.cli import main
from gainjax.curves import Setting
from gainjax.methods import as_methods
from gainjax.metrics import mean_curve_metrics, windowed_forgetting, windowed_plasticity
from gainjax.runs import files
from gainjax.runs.settings import sweep_settings

pytestmark = pytest.mark.exhaustive

RUN = ["run", "split-digits", "--methods", "sgd", "--seeds", "1", "--updates-per-task", "2"]
SHORT = {"updates_per_task": 3, "batch_size": 16, "eval_examples": 20, "threads": 1}


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return " ".join(told.split())


def command(*words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "gainjax", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


# --- gain and weights ---


def rested(optimizer, params, first=2.3, updates=200):
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, uncertainty):
        grads = optax.tree.zeros_like(params)
        updates, state = optimizer.update(grads, state, params, uncertainty=uncertainty)
        return optax.apply_updates(params, updates), state

    for uncertainty in [first, *[0.0] * updates]:
        params, state = step(params, state, jnp.float32(uncertainty))
    return params, state


def test_a_clip_behind_the_gain_is_refused_by_all_but_a_bare_loop():
    params = jnp.array([1.0, 2.0, -1.0])
    good = gain_modulation(
        optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.0)), sensitivity=0.4, mask=True
    )
    np.testing.assert_allclose(rested(good, params)[0], [1, 2, -1], rtol=1e-4)
    bad = optax.chain(ngm_sgd(0.0, mask=True), optax.clip_by_global_norm(0.5))
    wrong, state = rested(bad, params)
    # An update cannot see what comes behind it: the docstring says so.
    np.testing.assert_allclose(wrong, [0.62, 1.25, -0.62], atol=0.01)
    for reader in (get_gain, lambda s: slow_params(wrong, s)):
        with pytest.raises(ValueError, match="last"):
            reader(state)
    with pytest.raises(ValueError, match="last"):
        gainjax.run("split-digits", {"bad": bad}, **SHORT)


def test_a_masked_transformation_behind_a_masked_gain_goes_unseen():
    """No state tells it from a partition of the parameters, which is right: docstrings say so."""
    params = {"w": jnp.array([1.0, 2.0]), "b": jnp.array([1.0, 2.0])}
    on, off = {"w": True, "b": False}, {"w": False, "b": True}
    gain = optax.masked(ngm_sgd(0.0, mask=True), on)
    right, state = rested(optax.chain(gain, optax.masked(optax.set_to_zero(), off)), params)
    np.testing.assert_allclose(right["w"], [1, 2], rtol=1e-4)
    assert get_gain(state) == pytest.approx(1, rel=1e-4)
    both = optax.chain(gain, optax.masked(optax.scale(0.5), on))
    twice, state = rested(both, params)
    np.testing.assert_allclose(twice["w"], [1.056, 2.112], atol=0.001)  # should be at rest again
    assert get_gain(state) == pytest.approx(1, rel=1e-4)


def test_a_mask_of_the_same_size_that_changes_under_jit_goes_unseen():
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}
    state = ngm_sgd(0.1, mask={"a": True, "b": False}).init(params)
    swapped = ngm_sgd(0.1, mask={"a": False, "b": True})

    def step(state):
        return swapped.update(params, state, params, uncertainty=1.0)

    with pytest.raises(ValueError, match="modulated parameters differ"):
        step(state)
    jax.jit(step)(state)  # numbers of parameters are all that a compiled step can compare


def test_a_partition_that_changes_is_refused():
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}

    def split(first, second):
        groups = {"on": ngm_sgd(0.1, mask=True), "off": optax.sgd(0.1)}
        return optax.partition(groups, {"a": first, "b": second})

    state = split("on", "off").init(params)
    with pytest.raises(ValueError, match="modulated parameters differ"):
        split("off", "on").update(params, state, params, uncertainty=1.0)


def test_devices_that_do_not_average_uncertainty_drift_apart():
    program = """
import jax, jax.numpy as jnp, numpy as np, gainjax
optimizer = gainjax.ngm_sgd(0.1, mask=True)
params = jnp.ones((2, 2))
def gain(uncertainty, averaged):
    u = jax.lax.pmean(uncertainty, "d") if averaged else uncertainty
    return optimizer.update(params, optimizer.init(params), params, uncertainty=u)[1].gain
for averaged in (False, True):
    step = jax.pmap(lambda u: gain(u, averaged), axis_name="d")
    print(np.unique(step(jnp.array([1.0, 2.0]))).size)
"""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["2", "1"], done.stderr


def test_a_loss_as_uncertainty_is_bounded_by_the_default_and_runs_away_without_bound():
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.normal(size=(64, 8))), jnp.asarray(rng.integers(0, 4, 64))

    def loss(params):
        logits = jax.nn.relu(x @ params["a"]) @ params["b"]
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def ends(optimizer):
        params = {"a": jnp.asarray(rng.normal(size=(8, 32))), "b": jnp.ones((32, 4)) / 9}
        state = optimizer.init(params)

        @jax.jit
        def step(params, state):
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(grads, state, params, uncertainty=value)
            return optax.apply_updates(params, updates), state

        for _ in range(300):
            params, state = step(params, state)
        return float(get_gain(state))

    assert ends(gain_modulation(optax.sgd(0.1))) <= 2**0.5 + 1e-6
    assert not ends(ngm_sgd(0.5)) < 100


# --- results that belong to something else ---


@pytest.mark.parametrize("activation", [nn.tanh])
def test_another_activation_is_another_run(tmp_path, activation):
    def model(function):
        class Net(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.Dense(10)(function(nn.Dense(8)(x.reshape(len(x), -1))))

        return gainjax.models.from_linen(Net())

    gainjax.run("split-digits", ["sgd"], 1, model=model(nn.relu), out=tmp_path, **SHORT)
    with pytest.raises(ValueError, match="another program"):
        gainjax.run("split-digits", ["sgd"], 1, model=model(activation), out=tmp_path, **SHORT)


@pytest.mark.parametrize("changed", ["method", "init", "apply", "loss", "augment", "preprocess"])
def test_code_that_changed_within_a_process_is_compiled_again(changed):
    """As in a notebook that redefines what a function calls: the objects stay the same."""
    factors = {}

    def times(name, x):
        return x * factors.get(name, 1.0)

    def fresh():
        def init(key, x):
            return {"w": times("init", 0.01 * jax.random.normal(key, (64, 10)))}, {}

        def apply(params, state, x, *, train, key):
            return times("apply", x.reshape(len(x), -1)) @ params["w"], state

        def loss(outputs, targets):
            each = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
            return times("loss", each)

        def mine(learning_rate=0.1):
            return optax.chain(optax.scale(times("method", 1.0)), optax.sgd(learning_rate))

        bench = gainjax.Benchmark(
            "mine",
            stream=gainjax.get_benchmark("split-digits").load(),
            model=gainjax.models.from_functions(init, apply),
            loss=loss,
            augment=lambda key, images: times("augment", images),
            preprocess=lambda images: times("preprocess", images),
            updates_per_task=2,
            batch_size=16,
        )
        return bench, gainjax.Method("mine", mine)

    def trained(bench, method):
        return numbers(gainjax.run(bench, [method], 1, threads=1))

    same = fresh()
    before = trained(*same)
    factors[changed] = 3.0
    after = trained(*same)
    assert not after.identical(before)
    assert after.identical(trained(*fresh()))
    factors.clear()
    assert trained(*same).identical(before)


@pytest.mark.parametrize("harm", ["renamed", "cleaned", "unlocked"])
def test_a_directory_that_is_tampered_with_during_a_run(tmp_path, monkeypatch, harm):
    checkpoint_every_chunk(monkeypatch)
    out = tmp_path / "out"
    options = SHORT | {"chunk": 2}
    methods, wanted = ["sgd", "adam"], gainjax.run("split-digits", ["sgd", "adam"], 1, **SHORT)
    seen = []

    def at(label, done, _):
        if label == "adam" and not seen:
            seen.append(done)
            if harm == "renamed":
                out.rename(tmp_path / "elsewhere")
            elif harm == "cleaned":
                shutil.rmtree(out / "progress")
            else:
                (out / ".lock").unlink()
                second = gainjax.run("split-digits", methods, 1, out=out, **options)
                assert numbers(second).identical(numbers(wanted))

    if harm == "cleaned":  # of what is lost, nothing is needed any more but for resuming
        with contextlib.suppress(OSError):
            found = gainjax.run("split-digits", methods, 1, out=out, on_chunk=at, **options)
            assert numbers(found).identical(numbers(wanted))
    else:
        with pytest.raises(OSError, match=r"moved or cleaned|removed|not this run's"):
            gainjax.run("split-digits", methods, 1, out=out, on_chunk=at, **options)
        assert (out / "curves.nc").exists() == (harm == "unlocked")
    again = gainjax.run("split-digits", methods, 1, out=out, **options)
    assert numbers(again).identical(numbers(wanted))


def test_two_thousand_draws_have_two_thousand_labels():
    methods = as_methods(["sgd"])
    fixed = {"sgd": dict(methods["sgd"].hyperparameters)}
    close = scipy.stats.uniform(0.1, 1e-6)  # alike in six digits
    started = time.monotonic()
    rows = sweep_settings(methods, fixed, {"learning_rate": close}, draws=20_000)
    assert len({row.label for row in rows}) == 20_000
    assert time.monotonic() - started < 60  # it was quadratic


def test_augmentation_must_return_an_input_for_each():
    stream = gainjax.get_benchmark("split-digits").load()
    for augment, shape in ((lambda k, x: x[:1], "(1, 8, 8, 1)"), (lambda k, x: x[..., 0], "8, 8)")):
        with pytest.raises(ValueError, match="augment of benchmark 'mine' must return") as told:
            gainjax.Benchmark(
                "mine", stream=stream, augment=augment, updates_per_task=2, batch_size=8
            )
        assert shape in str(told.value)


def test_permuted_mnist_has_the_permutations_of_the_authors(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (40, 28, 28), np.uint8)
    y = np.tile(np.arange(10), 4)
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    stream = gainjax.get_benchmark("permuted-mnist").load(tmp_path)
    theirs = np.random.RandomState(42)
    orders = [np.arange(784), theirs.permutation(784), theirs.permutation(784)]
    for task, order in enumerate(orders):
        ours = np.asarray(stream.train_inputs[stream.task_start[task] :][:40]).reshape(40, 784)
        np.testing.assert_array_equal(ours, x.reshape(40, 784)[:, order])


def test_domain_cifar100_by_the_letter_of_the_scripts(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(1, 256, (200, 32, 32, 3), np.uint8)
    y = np.tile(np.arange(100), 2)
    np.savez(tmp_path / "cifar100.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    usual, scripts = (
        gainjax.get_benchmark(f"domain-cifar100{end}").load(tmp_path) for end in ("", "-scripts")
    )
    np.testing.assert_array_equal(usual.train_inputs, scripts.train_inputs)
    black = jnp.zeros((1, 1, 1, 3), jnp.uint8)
    cifar10 = np.array([0.4914, 0.4822, 0.4465]) / [0.2470, 0.2435, 0.2616]
    cifar100 = np.array([0.5071, 0.4865, 0.4409]) / [0.2673, 0.2564, 0.2762]
    for stream, expected in ((scripts, cifar10), (usual, cifar100)):
        found = gainjax.data.normalize(stream, black)
        np.testing.assert_allclose(np.ravel(found), -expected, rtol=1e-5)
    assert (scripts.test_targets == usual.test_targets).all()
    assert (np.asarray(scripts.test_inputs) != np.asarray(usual.test_inputs)).any()
    assert "clean test images" in gainjax.get_benchmark("domain-cifar100").source


def test_the_error_of_mean_curves_is_said_to_be_theirs():
    assert "inferred" not in mean_curve_metrics.__doc__
    assert "their table script" in mean_curve_metrics.__doc__


def test_the_evaluation_before_the_first_update_counts_in_windows_alone():
    with_start = np.array([[0.1, 0.1], [0.5, 0.2], [0.3, 0.9]])
    window = {"task_ends": [1, 2], "window": 2}
    ours = [windowed_plasticity(with_start, [0, 1, 2], **window)]
    ours.append(windowed_plasticity(with_start[1:], [1, 2], **window))
    np.testing.assert_allclose(ours, [(0.4 + 0.0) / 2, 0.0])
    np.testing.assert_allclose(windowed_forgetting(with_start, [0, 1, 2], **window), 0.1)
    curves = [
        gainjax.from_curves({"er": array}, eval_updates=updates, task_ends=[1, 2])
        for array, updates in ((with_start, [0, 1, 2]), (with_start[1:], [1, 2]))
    ]
    rows = [gainjax.per_seed(each).iloc[0] for each in curves]
    different = [k for k in rows[0].index if rows[0][k] != rows[1][k]]
    assert different == ["windowed_plasticity"]
    run = gainjax.run("split-digits", ["sgd"], 1, eval_tasks="all", **SHORT)
    assert 0 not in run.eval_update  # as the docstrings say
    assert run.eval_update[0] == 1
    assert gainjax.plot_curves(curves[0]).axes


# --- the command line ---


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "learning_rate=1", "--set", "learning_rate=2"], "--set is given twice"),
        (["--methods", "adam"], "--methods is given twice"),
        (["--seeds", "2"], "--seeds is given twice"),
        (["--updates-per-task=3"], "--updates-per-task is given twice"),
        (["--timeout", str(10**30), "--coordinator", "127.0.0.1:9", "--processes", "2",
          "--process-id", "1"], "--timeout must be at most"),
        (["--memory-gb", "1e308"], "--memory-gb must be a positive number: got 1e+308"),
        (["--out", "loop"], "Too many levels of symbolic links"),
        (["watch", ".", "--every", str(10**30)], "must be from 1 to 86400 seconds: got 1e+30"),
    ],
)  # fmt: skip
def test_wrong_words(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    start = [] if words[0] == "watch" else RUN
    assert message in refused(capsys, *start, *words)


def test_a_grid_does_not_silently_beat_a_value(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "split-digits", "--methods", "sgd", "adam"]
    told = refused(capsys, *words, "--set", "learning_rate=.5", "--grid", "learning_rate=.1,.2")
    assert "learning_rate is both set (hyperparameters, --set) and varied" in told
    told = refused(capsys, *words, "--set", "sgd.learning_rate=.5", "--grid", "learning_rate=.1,.2")
    assert "sgd.learning_rate is both set" in told
    assert "--grid is given twice" in refused(
        capsys, *words, "--grid", "learning_rate=.1,.2", "--grid", "learning_rate=.3,.4"
    )
    # A value for all may be varied for one.
    curves = gainjax.sweep(
        "split-digits", {"sgd": {"learning_rate": [0.1, 0.2]}}, ["sgd", "adam"], 1,
        hyperparameters={"learning_rate": 0.5}, **SHORT,
    )  # fmt: skip
    assert curves.sizes["setting"] == 3


def test_a_seed_beyond_the_range_leaves_nothing_behind(capsys, tmp_path):
    words = ["run", "split-digits", "--methods", "sgd", "--updates-per-task", "2"]
    told = refused(capsys, *words, "--seeds", f"{10**12},5", "--out", str(tmp_path))
    assert "must be below 2**32" in told
    assert not (tmp_path / "progress").exists()


def test_what_does_not_fit_into_memory_is_told_in_a_line(capsys, tmp_path, monkeypatch):
    def full(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    monkeypatch.setattr("gainjax.runs.execution.train", full)
    assert "RESOURCE_EXHAUSTED" in refused(capsys, *RUN, "--out", str(tmp_path))
    assert not (tmp_path / "progress").exists()  # or a smaller batch would be another run
    monkeypatch.undo()
    main([*RUN, "--batch-size", "8", "--out", str(tmp_path), "--quiet"])
    spec = json.loads(gainjax.load(tmp_path).attrs["spec"])
    assert spec["protocol"]["batch_size"] == 8


def test_names_are_neither_markup_nor_emoji(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main([*RUN, "--out", "o[/x]"])
    assert "wrote o[/x]/curves.nc" in capsys.readouterr().out
    told = refused(capsys, "sweep", "split-digits", "--grid", "learning_rate=log:-1:1:5")
    assert "log:-1:1:5" in told
    rows = {":smile:": np.array([[0.9], [0.3], [0.8]]), "[/]": np.array([[0.9], [0.5], [0.8]])}
    curves = gainjax.from_curves(
        rows, eval_updates=[1, 2, 3], task_ends=[1, 3], benchmark=":fire: [b]"
    )
    text = io.StringIO()
    gainjax.show.print_table(curves, Console(file=text, width=100))
    assert all(name in text.getvalue() for name in (":smile:", "[/]", ":fire: [b]"))


def test_six_swept_names_are_not_cut():
    rng = np.random.default_rng(0)
    names = [f"hyper_parameter_{i}" for i in range(6)]
    settings = []
    for k in range(4):
        values = dict(zip(names, rng.random(6).round(6).tolist(), strict=True))
        settings.append(Setting(f"er {k}", "er", "er", values, tuple(names)))
    character = {row.label: CHARACTER["sgd"] for row in settings}
    sweep = synthetic_curves(settings=settings, character=character, seeds=3)
    for width in (100, 80):
        text = io.StringIO()
        gainjax.show.print_ranking(sweep, Console(file=text, width=width))
        told = text.getvalue()
        assert "…" not in told
        for row in settings:
            assert all(f"{value:g}" in told for value in row.hyperparameters.values())
        assert max(map(len, told.splitlines())) <= width


def test_closed_standard_output_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m gainjax list >&-", shell=True, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupt_at_any_time_is_one_line():
    codes = []
    for delay in (0.8, 1.5, 2.5, 4.0):
        process = command("list")
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
        # Python itself has not begun, or it is told in a line, or all was over.
        assert process.returncode in (130, 0, -signal.SIGINT)
        if process.returncode == 130:
            assert "Traceback" not in told
        codes.append(process.returncode)
    assert 130 in codes


def test_an_interrupt_while_files_are_written_does_not_deny_the_curves(
    tmp_path, monkeypatch, capsys
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gainjax.show.write", interrupted)
    with pytest.raises(SystemExit) as stop:
        main([*RUN, "--out", str(tmp_path), "--quiet"])
    assert stop.value.code == 130
    assert "results stored so far are kept" in capsys.readouterr().err
    assert gainjax.load(tmp_path).sizes["seed"] == 1


# --- files of strangers ---


def test_a_lock_that_is_a_link_or_a_pipe_is_left_alone(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for kind in ("link", "pipe"):
        out = tmp_path / kind
        out.mkdir()
        (out / ".lock").symlink_to(victim) if kind == "link" else os.mkfifo(out / ".lock")
        with pytest.raises(OSError, match=r"the lock is a symbolic link|the lock is not a file"):
            gainjax.run("split-digits", ["sgd"], 1, out=out, **SHORT)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", ["run.json", "adam/*.npz", "adam/*.crc32"])
def test_a_pipe_among_what_is_stored_does_not_hang(tmp_path, name):
    options = SHORT | {"chunk": 2}
    crash(9, "split-digits", ["adam", "sgd"], 1, out=tmp_path, **options)
    wanted = gainjax.run("split-digits", ["adam", "sgd"], 1, **SHORT)
    for path in sorted((tmp_path / "progress").glob(name)):
        path.unlink()
        os.mkfifo(path)
    if name == "run.json":
        for action in (gainjax.resume, lambda d: gainjax.load(d, partial=True)):
            with pytest.raises(ValueError, match="named pipe"):
                action(tmp_path)
        return
    with pytest.warns(gainjax.runs.part_store.CheckpointWarning):
        found = gainjax.resume(tmp_path)
    assert numbers(found).identical(numbers(wanted))


def test_an_output_directory_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="the output directory is a file"):
        gainjax.run("split-digits", ["sgd"], 1, out=tmp_path / "file", **SHORT)


def test_junk_around_an_npz_is_read_past(tmp_path):
    x, y = np.arange(40, dtype=np.uint8).reshape(10, 2, 2), np.arange(10) % 2
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(b"junk" + whole)
    for found, wanted in zip(
        gainjax.data.read(tmp_path / "b.npz")[:4], gainjax.data.read(tmp_path / "a.npz")[:4],
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(found, wanted)


def test_whatever_a_checkpoint_fails_with_is_told(tmp_path):
    with (
        pytest.raises(OSError, match="ValueError: no room at the inn") as told,
        files.os_errors(tmp_path),
    ):
        raise ValueError("no room at the inn")
    assert told.value.errno == errno.EIO
    with pytest.raises(OSError, match="Permission denied") as told, files.os_errors(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    assert told.value.errno == errno.EACCES


# --- arguments of the wrong type ---


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


# --- costs follow what is shown ---


@contextlib.contextmanager
def arrays_within(mebibytes):
    """Bound the memory that NumPy and Python hold at once, however busy the machine is."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mebibytes * 2**20


def test_long_curves_and_many_seeds_are_shown_at_a_bounded_cost():
    ends = [100_000, 200_000]
    rng = np.random.default_rng(0)
    accuracy = {name: rng.random((5, 200_000, 1), np.float32) for name in ("a", "b")}
    curves = gainjax.from_curves(accuracy, eval_updates=range(1, 200_001), task_ends=ends)
    with arrays_within(100):  # it took 3.4 GB
        figure = gainjax.plot_curves(curves)
    for axes in figure.axes:  # what is drawn is what a page can show
        assert all(len(line.get_xdata()) < 10_000 for line in axes.lines)
        bands = [path for band in axes.collections for path in band.get_paths()]
        assert all(len(path.vertices) < 20_000 for path in bands)
    figure.savefig(io.BytesIO(), format="png")
    seeds = synthetic_curves(methods=("sgd", "adam"), seeds=5000, tasks=2, updates_per_task=3)
    with arrays_within(700):  # all random patterns at once would take 2.6 GB; it died at 9 GB
        assert gainjax.comparison(seeds, metrics=["avg_sg"])["avg_sg_p"].item() == 2**-16


# --- processes ---


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def member(port, number, of, out, *more):
    place = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(of)]
    return command(
        *RUN[:4], "--seeds", "1", "--updates-per-task", "2", *place, "--process-id", str(number),
        "--out", str(out), *more,
    )  # fmt: skip


def test_a_partner_that_never_comes_is_named(tmp_path):
    process = member(free_port(), 0, 3, tmp_path, "--timeout", "1")
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "processes [1, 2] of 3 have not arrived after 1 s" in " ".join(told.split())
    assert "stack trace" not in told


@pytest.mark.parametrize("numbers_given", [(0, 0), (0, 1, 1)])
def test_a_number_that_two_processes_have_is_named(tmp_path, numbers_given):
    port, of = free_port(), max(2, len(numbers_given))
    processes = [member(port, k, of, tmp_path, "--timeout", "20") for k in numbers_given]
    told = [" ".join(process.communicate(timeout=180)[1].split()) for process in processes]
    assert all(process.returncode == 2 for process in processes), told
    assert not any("stack trace" in each for each in told)
    assert any("two processes have --process-id 1" in each or "is taken" in each for each in told)


def test_strangers_at_the_door_are_ignored(tmp_path):
    from gainjax.cli.meeting import meet

    port, errors = free_port(), []

    def first():
        try:
            meet("127.0.0.1", port, 2, 0, 30)
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    for _ in range(100):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n")
            break
        except OSError:
            time.sleep(0.05)
    meet("127.0.0.1", port, 2, 1, 30)
    thread.join(30)
    assert not errors


def test_processes_with_different_grids_do_not_mix(tmp_path):
    port = free_port()
    processes = []
    for number, grid in enumerate((".1,.2", ".1,.3")):
        place = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2"]
        processes.append(
            command(
                "sweep",
                "split-digits",
                "--methods",
                "sgd",
                "--seeds",
                "1",
                "--grid",
                f"learning_rate={grid}",
                "--updates-per-task",
                "2",
                *place,
                "--process-id",
                str(number),
                "--out",
                str(tmp_path / "out"),
                "--timeout",
                "60",
            )
        )
    told = [process.communicate(timeout=180)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], told
    assert any("differs from that of process 0" in " ".join(each.split()) for each in told)
    assert not (tmp_path / "out" / "curves.nc").exists()
