"""Seeds and methods added to a finished run: of the same run, or refused before training."""

import json
import multiprocessing

import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from interruptions import crash, numbers

import gainjax
from gainjax.curves import spec_of
from gainjax.runs import execution, extension
from gainjax.runs.part_store import CheckpointWarning

pytestmark = pytest.mark.exhaustive

SHORT = {"seeds": 2, "updates_per_task": 3, "eval_examples": 20, "threads": 1}


def run(out, methods=("sgd",), benchmark="split-digits", **changes):
    return gainjax.run(benchmark, list(methods), out=out, **SHORT | changes)


class Net(nnx.Module):
    def __init__(self, width, rngs):
        self.first = nnx.Linear(64, width, rngs=rngs)
        self.head = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.first(x.reshape(len(x), -1))))


def model(width):
    return gainjax.models.from_nnx(lambda rngs: Net(width, rngs))


def test_methods_and_seeds_are_added_at_once(tmp_path):
    run(tmp_path)
    found = run(tmp_path, ["sgd", "adam"], seeds=3, extend=True)
    wanted = gainjax.run("split-digits", ["sgd", "adam"], **SHORT | {"seeds": 3})
    assert numbers(found).identical(numbers(wanted))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "curves.nc"]
    again = run(tmp_path, ["sgd", "adam"], seeds=3, extend=True)  # nothing is missing
    assert again.identical(found)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"benchmark": "permuted-digits"}, "benchmark"),
        ({"batch_size": 7}, r"protocol\.batch_size"),
        ({"updates_per_task": 9}, r"protocol\.updates_per_task"),
        ({"model": model(4)}, "model"),
        ({"hyperparameters": {"learning_rate": 0.5}}, "learning_rate"),
        ({"eval_examples": 10}, "data"),
    ],
)
@pytest.mark.parametrize("methods", [["sgd"], ["sgd", "adam"], ["adam"]])
def test_what_differs_is_refused_before_anything_is_trained(
    tmp_path, monkeypatch, methods, changes, difference
):
    if methods == ["adam"] and "hyperparameters" in changes:
        return  # of another method, which may have its own
    before = run(tmp_path)
    monkeypatch.setattr(extension, "execute", lambda *_: pytest.fail("it trains"))
    with pytest.raises(ValueError, match=f"holds another run: it differs in .*{difference}"):
        run(tmp_path, methods, extend=True, **changes)
    assert gainjax.load(tmp_path).identical(before)


def test_other_models_of_one_description_are_told_apart(tmp_path):
    a = run(tmp_path, model=model(4))
    b = gainjax.run("split-digits", ["adam"], model=model(100), **SHORT)
    spec_a, spec_b = (json.loads(curves.attrs["spec"]) for curves in (a, b))
    assert spec_a["model"] == spec_b["model"]
    with pytest.raises(ValueError, match="differ in common"):
        gainjax.concat([a, b], "setting")
    with pytest.raises(ValueError, match="code of model"):
        run(tmp_path, ["sgd", "adam"], model=model(100), extend=True)
    with pytest.raises(ValueError, match="of another program"):
        run(tmp_path, model=model(100))


def test_another_loss_or_preprocessing_is_told_apart():
    stream = gainjax.get_benchmark("split-digits").load()
    options = {"stream": stream, "updates_per_task": 3, "batch_size": 16}
    one = gainjax.Benchmark("mine", **options)
    for changes in (
        {"preprocess": lambda x: x * 0},
        {"augment": lambda key, x: x + 1},
        {"loss": lambda z, y: 2 * optax.losses.softmax_cross_entropy_with_integer_labels(z, y)},
        {"uncertainty": lambda outputs: jnp.float32(1)},
    ):
        other = gainjax.Benchmark("mine", **options | changes)
        a, b = gainjax.run(one, ["sgd"], 2), gainjax.run(other, ["adam"], 2)
        with pytest.raises(ValueError, match="differ in common"):
            gainjax.concat([a, b], "setting")


def test_the_first_state_of_an_optimizer_is_part_of_its_program(tmp_path):
    def adagrad(initial):
        def make(learning_rate=0.05):
            return optax.adagrad(learning_rate, initial_accumulator_value=initial)

        return make

    gainjax.run("split-digits", {"ada": adagrad(0.0)}, out=tmp_path, **SHORT)
    with pytest.raises(ValueError, match="of another program"):
        gainjax.run("split-digits", {"ada": adagrad(10.0)}, out=tmp_path, **SHORT)


def test_own_code_under_the_name_of_another_is_refused(tmp_path):
    before = run(tmp_path)
    own = {"sgd": lambda learning_rate=0.1: optax.sign_sgd(learning_rate)}
    same = {"hyperparameters": {"learning_rate": 0.01}}
    with pytest.raises(ValueError, match="differs in"):
        gainjax.run("split-digits", own, out=tmp_path, extend=True, **SHORT | same)
    assert gainjax.load(tmp_path).identical(before)


def test_an_extension_that_was_killed_after_saving_is_cleaned(tmp_path):
    run(tmp_path, seeds=3)
    leftover = tmp_path / "extension-seed"
    gainjax.run("split-digits", ["sgd"], out=leftover, **SHORT | {"seeds": [2]})
    (leftover / "stray.tmp").touch()
    found = run(tmp_path, seeds=4, extend=True)
    assert found.seed.values.tolist() == [0, 1, 2, 3]
    assert not leftover.exists()


def test_an_interrupted_extension_goes_on_and_resume_says_so(tmp_path):
    run(tmp_path)
    crash(4, tmp_path, run=run, seeds=3, extend=True, chunk=2)
    assert (tmp_path / "extension-seed/progress").exists()
    with pytest.raises(ValueError, match="whose extension was interrupted"):
        gainjax.resume(tmp_path)
    found = run(tmp_path, seeds=3, extend=True)
    wanted = gainjax.run("split-digits", ["sgd"], **SHORT | {"seeds": 3})
    assert numbers(found).identical(numbers(wanted))


def hold(directory, held, done):
    from gainjax.runs import guard

    with guard.lock(directory):
        held.set()
        done.wait(60)


def test_two_extensions_at_once_are_not_let_in(tmp_path):
    run(tmp_path)
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, held, done))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(BlockingIOError, match=f"process {other.pid} is running"):
            run(tmp_path, seeds=3, extend=True)
    finally:
        done.set()
        other.join()
    assert run(tmp_path, seeds=3, extend=True).sizes["seed"] == 3


def test_states_of_a_run_without_them_are_trained_again_with_a_word(tmp_path, monkeypatch):
    run(tmp_path)
    with pytest.warns(CheckpointWarning, match="requested states are missing"):
        _, states = run(tmp_path, return_states=True)
    monkeypatch.setattr(execution, "train", lambda *_, **__: pytest.fail("it trains again"))
    assert list(run(tmp_path, return_states=True)[1]) == list(states)


def test_a_borrower_is_extended_and_repeated_after_its_source(tmp_path):
    source, mine, other = (tmp_path / name for name in ("source", "mine", "other"))
    run(source, ["ngm-sgd"])
    first = run(mine, ["replayed-gain"], gain_from=source)
    run(source, ["ngm-sgd"], seeds=3, extend=True)
    assert run(mine, ["replayed-gain"], gain_from=source).identical(first)
    run(other, ["ngm-sgd"], seeds=3, hyperparameters={"sensitivity": 0.1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "train", lambda *_, **__: pytest.fail("it trains"))
        with pytest.raises(ValueError, match=r"differs in borrowed\.crc32\.0"):
            run(mine, ["replayed-gain"], gain_from=other, seeds=3, extend=True)
    found = run(mine, ["replayed-gain"], gain_from=source, seeds=3, extend=True)
    wanted = run(None, ["replayed-gain"], gain_from=source, seeds=3)
    assert numbers(found).identical(numbers(wanted))
    assert spec_of(found)["borrowed"] == spec_of(wanted)["borrowed"]
    source.rename(tmp_path / "moved")  # the same gain
    moved = {"gain_from": tmp_path / "moved", "seeds": 3}
    assert run(mine, ["replayed-gain"], **moved).identical(found)
    joined = gainjax.concat([first, found.sel(seed=[2])], "seed")
    assert spec_of(joined)["borrowed"] == spec_of(found)["borrowed"]
    foreign = run(None, ["constant-gain"], gain_from=other, seeds=3)
    with pytest.raises(ValueError, match=r"differ in borrowed\.crc32"):
        gainjax.concat([found, foreign], "setting")
