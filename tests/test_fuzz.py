"""Hostile input of every kind: accepted and right, or refused in words; never anything else.

pytest -m "" tests/test_fuzz*.py                 # about 2,200 inputs
GAINJAX_FUZZ=9500 pytest -m "" tests/test_fuzz*.py  # more than 50,000

GAINJAX_FUZZ scales the fuzzing tests of other files, too.
"""

import contextlib
import io
import string

import numpy as np
import pytest
from fuzzing import EXAMPLES, FUZZ
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import loguniform

import gainjax
from gainjax.cli import app, main
from gainjax.data import class_incremental, domain_incremental
from gainjax.data.stream import check_stream
from gainjax.runs import plan

REFUSALS = (ValueError, TypeError, FileNotFoundError)

words = st.text(string.printable, max_size=8) | st.sampled_from(
    [
        "",
        "-1",
        "0",
        "1e400",
        "nan",
        "inf",
        "none",
        "[/x]",
        "\x1b[31m",
        "../up",
        "a=b",
        "é",
        "💥",
        "--",
    ]
)
numbers = (
    st.integers(-5, 40)
    | st.sampled_from([2**31, 2**63, 2**64, 10**30, -(2**63), True, None])
    | st.floats(allow_nan=True)
    | words
)
values = numbers | st.lists(numbers, max_size=3) | st.dictionaries(words, numbers, max_size=2)


def told(refused):
    """A refusal says something, and not that of a library that was called with nonsense."""
    assert len(str(refused)) > 10, repr(refused)


@pytest.fixture
def planned(monkeypatch):
    """Let `run` and `sweep` do everything but train: what would be trained comes back."""
    monkeypatch.setattr("gainjax.runs.api.execute", lambda plan, how: (plan, {}))
    monkeypatch.setattr(plan, "_fingerprint", lambda *_: ("0", None))
    monkeypatch.setattr(plan.identity, "shared_fingerprint", lambda *_: "0")
    # Models and data do not depend on the input, and take time.
    stream = gainjax.get_benchmark("split-digits").load()
    monkeypatch.setattr("gainjax.runs.benchmark.Benchmark.load", lambda self, *_, **__: stream)


# --- Python ---------------------------------------------------------------------------------------


GOOD = {
    "updates_per_task": [3, [1, 2, 3, 4, 5], (7,) * 5, np.int64(4)],
    "batch_size": [16, 1, np.int32(8)],
    "eval_every": [1, 10],
    "eval_tasks": ["first", "all"],
    "seen_every": [1, 20],
    "regime": ["joint", "replay", "fine-tuning"],
    "buffer": ["reservoir", "balanced"],
    "buffer_size": [20, 500],
    "batch_growth": ["constant", "linear"],
    "chunk": [1, 100],
    "threads": [None, 2],
    "form": ["optimizer", "model"],
    "modulate": [None, "all", "head"],
}

number_lists = [[0.1, 0.2], [0.1, 0.1000000001], [0.1, lambda count: 0.1], loguniform(0.1, 1)]
hyperparameters = st.dictionaries(
    st.sampled_from(["learning_rate", "sgd"]),
    st.sampled_from([0.1, 0.0, np.float32(0.2), lambda count: 0.1 / (1 + count)]),
    max_size=1,
)
right = {
    "methods": st.lists(st.sampled_from(["sgd", "ngm-sgd", "adam"]), min_size=1, unique=True)
    | st.dictionaries(words, st.sampled_from(["sgd", "ngm-sgd", "adam"]), min_size=1, max_size=3),
    "seeds": st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4, unique=True)
    | st.integers(1, 3),
    "hyperparameters": hyperparameters,
}
grids = {
    "grid": st.dictionaries(
        st.just("learning_rate"), st.sampled_from(number_lists[:3]), min_size=1, max_size=1
    ),
    "draws": st.sampled_from([None, 1, 2]),
}
wrong_names = st.dictionaries(
    st.sampled_from(["learning_rate", "sensitivity", "adam"]) | words, values
)


@st.composite
def arguments(draw, more=()):
    """Draw arguments that are right, then spoil up to two of them."""
    optional = {name: st.sampled_from(good) for name, good in GOOD.items()}
    drawn = draw(st.fixed_dictionaries(right | dict(more), optional=optional))
    if drawn.get("form") == "model" and draw(st.booleans()):
        del drawn["form"]
    names = [*right, *dict(more), *GOOD]
    for name in draw(st.lists(st.sampled_from(names) | words, max_size=2)):
        drawn[name] = draw(values | wrong_names)
    return drawn


def planned_or_refused(start, options):
    """Return the plan of a run or sweep, or None if it is refused in words."""
    try:
        return start("split-digits", **options)
    except REFUSALS as refused:
        told(refused)
        return None


@FUZZ
@given(options=arguments())
def test_runs(planned, options):
    if (found := planned_or_refused(gainjax.run, options)) is None:
        return
    spec = found.spec
    assert len(set(spec.seeds)) == len(spec.seeds) > 0
    assert all(0 <= seed < 2**32 for seed in spec.seeds)
    assert len(set(spec.labels)) == len(spec.labels) > 0
    assert spec.protocol.task_ends(5)[-1] >= 5
    for row in spec.settings:
        for value in row.hyperparameters.values():
            assert value is None or np.isfinite(np.asarray(getattr(value, "values", value))).all()
    assert type(spec).from_json(spec.to_json()) == spec


@FUZZ
@given(options=arguments(grids.items()))
def test_sweeps(planned, options):
    if (found := planned_or_refused(gainjax.sweep, options)) is None:
        return
    rows = found.spec.settings
    assert len({row.label for row in rows}) == len(rows)
    assert len({(row.method, *row.hyperparameters.items()) for row in rows}) == len(rows)


# --- Command lines --------------------------------------------------------------------------------


WATCH = app.pages.watch
COMMANDS = ["run", "sweep", "resume", "table", "figure", "report", "watch", "list", "demo", ""]
FLAGS = [
    *("--methods", "--seeds", "--set", "--out", "--updates-per-task", "--batch-size", "--regime"),
    *(
        "--eval-every",
        "--eval-tasks",
        "--seen-every",
        "--buffer",
        "--form",
        "--modulate",
        "--chunk",
    ),
    *("--threads", "--memory-gb", "--extend", "--json", "--quiet", "--gain-from"),
    *("--floor", "--format", "--kind", "--every", "--once"),
    *("--data-dir", "--grid", "--draws", "--draw-seed", "--layout", "--processes", "--coordinator"),
]
argument = (
    st.sampled_from(["sgd", "adam", "ngm-sgd", "learning_rate=.1", "adam.b1=.9", "log:-1:1", "5:3"])
    | st.integers(-3, 2**65).map(str)
    | words
)


@pytest.mark.exhaustive
@settings(FUZZ, max_examples=EXAMPLES // 2)  # slow: the parser is made anew each time
@given(
    command=st.sampled_from(COMMANDS) | words,
    benchmark=st.sampled_from(["split-digits", "split-digit", ""]) | words,
    rest=st.lists(st.sampled_from(FLAGS) | argument, max_size=6),
)
def test_command_lines(planned, monkeypatch, tmp_path_factory, command, benchmark, rest):
    monkeypatch.chdir(tmp_path_factory.getbasetemp())
    monkeypatch.setattr(app.shown, "show_results", lambda *_: None)
    monkeypatch.setattr(app.Cluster, "join", lambda self: None)
    # Watching would go on, and pages would be written anywhere.
    monkeypatch.setattr(app.pages, "watch", lambda *given, once: WATCH(*given, once=True))
    monkeypatch.setattr(app.pages, "write_file", lambda *_: None)
    out, errors, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            main([command, benchmark, *rest])
        except SystemExit as stop:
            code = stop.code
    assert code in (0, 2), (code, errors.getvalue())
    assert "Traceback" not in out.getvalue() + errors.getvalue()
    assert "\x1b" not in errors.getvalue(), "escape codes of strangers"


# --- Data -----------------------------------------------------------------------------------------


dtypes = st.sampled_from(
    [
        np.uint8,
        np.int32,
        np.int64,
        np.float32,
        np.float64,
        np.float16,
        bool,
        np.complex64,
        "<U3",
        "O",
    ]
)
shapes = st.one_of(
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=3, max_side=6),
)


@st.composite
def arrays(draw):
    dtype, shape = np.dtype(draw(dtypes)), draw(shapes)
    if dtype.kind == "O":
        return np.full(shape, None)
    fill = draw(st.sampled_from(["zeros", "range", "range", "edges"]))
    if fill == "zeros" or dtype.kind == "U":
        return np.zeros(shape, dtype)
    if fill == "range":
        return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    edges = [0, 1, -1, 255, 2**31, np.nan, np.inf, -np.inf, 1e300]
    with np.errstate(all="ignore"):
        filled = np.resize(np.array(edges), np.prod(shape, dtype=int)).reshape(shape)
        return filled.astype(dtype)


def checked(make):
    """Make a stream, or refuse; then it is sound and its values are those that came in."""
    try:
        stream = make()
    except REFUSALS as refused:
        told(refused)
        return None
    check_stream(stream)
    assert np.isfinite(np.asarray(stream.train_inputs, np.float64)).all()
    assert (np.diff([0, *stream.task_end]) > 0).all()
    assert (np.asarray(stream.test_sizes) > 0).all()
    return stream


@FUZZ
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(
    x=arrays(), y=arrays(), x_test=arrays(), y_test=arrays(),
    same=st.booleans(), twice=st.booleans(),
    tasks=st.lists(st.lists(st.integers(-1, 6) | words, max_size=3), max_size=3) | values,
)  # fmt: skip
def test_classes_over_tasks(x, y, x_test, y_test, same, twice, tasks):
    if same:  # else hardly anything fits
        y = np.arange(len(x) if x.ndim else 1) % 3
        x_test, y_test = x, y
        tasks = [[2, 0], [1]] if twice else tasks
    stream = checked(lambda: class_incremental(x, y, x_test, y_test, tasks=tasks))
    if stream is not None and same:
        wanted = [c for task in tasks for c in task]
        assert set(np.asarray(stream.train_targets)) == set(wanted)


@FUZZ
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(tasks=st.lists(st.tuples(arrays(), arrays()), max_size=3), twice=st.booleans())
def test_domains(tasks, twice):
    four = [(x, y, x, y) if twice else (x, y) for x, y in tasks]
    stream = checked(lambda: domain_incremental(four))
    if stream is not None:
        kept = np.asarray(stream.train_inputs)[: len(tasks[0][0])]
        np.testing.assert_array_equal(kept, tasks[0][0].astype(kept.dtype))
