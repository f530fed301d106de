"""Scenarios: arrays of any kind as streams, against independent constructions; wrong ones."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from fuzzing import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gainjax.data import (
    Stream,
    check_stream,
    class_incremental,
    domain_incremental,
    load_source,
    normalize,
    permuted,
    rotated,
    split,
    transformed,
)
from gainjax.data.assemble import normalization


@pytest.fixture(scope="module")
def digits():
    return load_source("digits")


def table(n=30, features=4, classes=3, seed=0):
    """A table of features whose rows are all different, with every class in turn."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, features)), np.arange(n) % classes


def of_task(stream, k):
    return slice(stream.task_start[k], stream.task_end[k])


# --- the numbers of the benchmarks


def hashed(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


# What the runs published with version 0.1.0 saw: training inputs, test inputs, a training batch.
SEEN = {
    "split": (split, ("0f1d96c9c27100b9", "9b8652db7663f04c", "6f1c11309802a94d")),
    "permuted": (permuted, ("a5cdee65ea8f8cd4", "0352c82340709ba5", "6b685a3c8777811c")),
    "rotated": (rotated, ("ceb21e9e13c34efd", "651aab25cee52576", "387c21b6fbb1f220")),
}


@pytest.mark.parametrize("name", SEEN)
def test_benchmarks_see_the_numbers_that_they_always_saw(name, digits):
    scenario, expected = SEEN[name]
    stream = scenario(digits)
    batch = jax.jit(normalize)(stream, stream.train_inputs[::7])
    found = (hashed(stream.train_inputs), hashed(stream.test_inputs), hashed(batch))
    assert found == expected


# --- class-incremental


def test_the_order_of_classes_and_unequal_tasks(digits):
    tasks = [[7, 1, 3], [9, 0], [2]]
    stream = class_incremental(*digits[:4], tasks=tasks)
    for k, classes in enumerate(tasks):
        train, test = np.isin(digits.y_train, classes), np.isin(digits.y_test, classes)
        np.testing.assert_array_equal(
            stream.train_inputs[of_task(stream, k)], digits.x_train[train]
        )
        np.testing.assert_array_equal(
            stream.train_targets[of_task(stream, k)], digits.y_train[train]
        )
        assert stream.test_sizes[k] == test.sum()
        np.testing.assert_array_equal(stream.test_targets[k, : test.sum()], digits.y_test[test])
    assert stream.train_targets.max() == 9  # labels number the outputs
    assert not np.isin(stream.train_targets, [4, 5, 6, 8]).any()


def test_split_is_class_incremental_in_natural_order(digits):
    options = {"mean": digits.mean, "std": digits.std, "eval_examples": 20}
    stream = class_incremental(*digits[:4], tasks=np.arange(10).reshape(5, 2), **options)
    for a, b in zip(split(digits, eval_examples=20), stream, strict=True):
        np.testing.assert_array_equal(a, b)


def test_names_of_classes_are_numbered_in_sorted_order():
    x, y = table()
    names = np.array(["dog", "ape", "cat"])[y]
    stream = class_incremental(x, names, x, names, tasks=[["cat"], ["dog"]])
    assert set(stream.train_targets[of_task(stream, 0)]) == {0}
    assert set(stream.train_targets[of_task(stream, 1)]) == {1}
    as_objects = class_incremental(x, list(names), x, pd.Series(names), tasks=[["cat"], ["dog"]])
    np.testing.assert_array_equal(stream.train_targets, as_objects.train_targets)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_example_of_a_task_comes_once_and_no_other(data):
    classes = data.draw(st.integers(1, 6))
    order = data.draw(st.permutations(range(classes)))
    cuts = sorted(data.draw(st.sets(st.integers(1, classes), max_size=3)) | {0})
    tasks = [order[a:b] for a, b in zip(cuts, [*cuts[1:], classes], strict=True) if a < b]
    rest = data.draw(st.lists(st.integers(0, classes), max_size=30))
    labels = np.array([*range(classes), *rest])
    x = np.arange(len(labels), dtype=np.int64)[:, None]
    limit = data.draw(st.none() | st.integers(1, 5))
    stream = class_incremental(x, labels, x, labels, tasks=tasks, eval_examples=limit)
    check_stream(stream)
    for k, task in enumerate(tasks):
        mine = np.flatnonzero(np.isin(labels, task))
        np.testing.assert_array_equal(stream.train_inputs[of_task(stream, k), 0], mine)
        np.testing.assert_array_equal(stream.train_targets[of_task(stream, k)], labels[mine])
        tested = stream.test_inputs[k, : stream.test_sizes[k], 0]
        assert len(set(tested)) == len(tested) == min(len(mine), limit or len(mine))
        assert set(tested) <= set(mine)
        np.testing.assert_array_equal(
            stream.test_targets[k, : stream.test_sizes[k]], labels[tested]
        )


X, Y = table()
BAD_CLASSES = {
    "twice": ({"tasks": [[0, 1], [1]]}, ValueError, "class 1 is listed twice, in tasks 1 and 2"),
    "twice in a task": ({"tasks": [[0, 0]]}, ValueError, "class 0 is listed twice, in task 1"),
    "unknown": ({"tasks": [[0], [7]]}, ValueError, "class 7 of task 2 has no training example"),
    "flat": ({"tasks": [0, 1]}, TypeError, r"such as \[\[0, 1\], \[2\]\]: got 0 as task 1"),
    "a text": ({"tasks": "01"}, TypeError, "must be a list with an entry for each task: got '01'"),
    "none": ({"tasks": []}, ValueError, "at least one task: got none"),
    "empty": ({"tasks": [[0], []]}, ValueError, "task 2 lists no classes: leave it out"),
    "float class": ({"tasks": [[0.0]]}, TypeError, "must be an integer, as in y_train: got 0.0"),
    "named class": ({"tasks": [["0"]]}, TypeError, "must be an integer, as in y_train: got '0'"),
    "true": ({"tasks": [[True]]}, TypeError, "must be an integer, as in y_train: got True"),
    "negative": ({"y_train": Y - 1, "tasks": [[-1, 0]]}, ValueError, "numbered from 0: got -1"),
    "huge": (
        {"y_train": Y * 10**7, "tasks": [[0, 10**7]]},
        ValueError,
        "got 10000000",
    ),
    "no test": (
        {"y_test": Y * 0, "tasks": [[0], [2, 1]]},
        ValueError,
        "task 2 has no test",
    ),
    "float labels": ({"y_train": Y * 1.0}, TypeError, r"got float64 .*astype\(int\)"),
    "one-hot": ({"y_train": np.eye(3)[Y]}, TypeError, r"y_train must be classes.*argmax\(-1\)"),
    "mixed": ({"y_test": Y.astype(str)}, TypeError, "must both be integers, or both strings"),
    "lengths": ({"y_test": Y[1:]}, ValueError, "x_test and y_test must have equal length: got 30"),
    "no data": ({"x_train": X[:0]}, ValueError, "x_train holds no examples"),
    "no features": ({"x_train": X[:, :0]}, ValueError, "x_train holds no numbers"),
    "shapes": ({"x_test": X[:, 1:]}, ValueError, r"x_test of task 1 must be float32 of shape"),
    "kinds": ({"x_test": X > 0}, ValueError, "x_test of task 1 must be float32 .* got bool"),
    "nan": ({"x_test": np.where(X > 1, np.nan, X)}, ValueError, "x_test must be finite: got nan"),
    "overflow": (
        {"x_train": X * 1e300},
        ValueError,
        "x_train as float32 must be finite: got -?inf",
    ),
    "durations": (
        {"x_train": X.astype("timedelta64[s]")},
        TypeError,
        "real numbers: got timedelta64",
    ),
    "complex": ({"x_train": X * 1j}, TypeError, "x_train must be real numbers: got complex128"),
    "texts": ({"x_train": X.astype(str)}, TypeError, "x_train must be real numbers: got <U"),
    "objects": ({"x_train": X.astype(object)}, TypeError, "x_train must be real .* got object"),
    "ragged": ({"x_train": [[1.0], [1.0, 2.0]]}, ValueError, "with rows of one shape"),
    "scalar": ({"x_train": 3.0}, TypeError, "x_train must be an array of examples: got float"),
    "nothing": ({"x_train": None}, TypeError, "x_train must be an array of examples: got None"),
    "masked": ({"x_train": np.ma.masked_array(X)}, TypeError, "must not be a masked array"),
    "64 bits": (
        {"x_train": Y[:, None] + 2**31},
        ValueError,
        "must fit into 32 bits: got 2147483650",
    ),
    "eval": ({"eval_examples": 0}, ValueError, "eval_examples must be an integer of at least 1"),
    "mean alone": ({"mean": 0.0}, ValueError, "mean and std must both be given, or neither"),
    "mean of 3": ({"mean": [1, 2, 3], "std": 1.0}, ValueError, r"mean must be numbers .* \(4,\)"),
    "mean text": ({"mean": "x", "std": 1.0}, ValueError, "mean must be numbers that broadcast"),
    "no std": ({"mean": 0.0, "std": [1, 1, 0, 1]}, ValueError, "std must be positive: got 0"),
    "nan mean": ({"mean": np.nan, "std": 1.0}, ValueError, "mean must be finite"),
}


@pytest.mark.parametrize("case", BAD_CLASSES)
def test_wrong_arguments_of_class_incremental(case):
    changed, kind, message = BAD_CLASSES[case]
    arguments = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y, "tasks": [[0], [1, 2]]}
    class_incremental(**arguments)
    with pytest.raises(kind, match=message):
        class_incremental(**(arguments | changed))


# --- what becomes of inputs


KINDS = {
    "uint8": (np.uint8, np.uint8, np.float32),
    "bool": (bool, np.uint8, np.float32),
    "int8": (np.int8, np.int8, np.int8),
    "uint16": (np.uint16, np.uint16, np.uint16),
    "int64": (np.int64, np.int32, np.int32),
    "uint32": (np.uint32, np.int32, np.int32),
    "big-endian": (">i4", np.int32, np.int32),
    "float16": (np.float16, np.float32, np.float32),
    "float64": (np.float64, np.float32, np.float32),
    "bfloat16": (jnp.bfloat16, np.float32, np.float32),
}


@pytest.mark.parametrize("kind", KINDS)
def test_types_of_inputs(kind):
    given, raw, seen = KINDS[kind]
    x = np.arange(24).reshape(12, 2).astype(given)
    stream = class_incremental(x, np.arange(12) % 2, x, np.arange(12) % 2, tasks=[[0], [1]])
    assert stream.train_inputs.dtype == raw
    assert stream.test_inputs.dtype == seen
    batch = normalize(stream, stream.train_inputs)
    assert batch.dtype == seen
    np.testing.assert_array_equal(batch[:6], stream.test_inputs[0])  # bit for bit
    if kind != "uint8":
        np.testing.assert_array_equal(np.float64(batch[:6]), np.float64(x[::2]))


@settings(max_examples=80, deadline=None)
@given(
    x=hnp.arrays(
        np.uint8,
        st.sampled_from([(6,), (6, 5), (6, 3, 3), (6, 2, 2, 1), (6, 2, 2, 3), (6, 2, 2, 7)]),
    )
)
def test_pixels_are_standardized_by_training_inputs(x):
    y = np.zeros(6, int)
    stream = class_incremental(x, y, x, y, tasks=[[0]])
    per_channel = x.ndim > 3 and x.shape[-1] <= 4
    axes = tuple(range(x.ndim - 1)) if per_channel else None
    mean, std = x.mean(axes, dtype=np.float64), x.std(axes, dtype=np.float64)
    expected = (x - mean) / np.where(x.max(axes) == x.min(axes), 1, std)
    np.testing.assert_allclose(stream.test_inputs[0], expected, rtol=1e-5, atol=2e-4)
    batch = jax.jit(normalize)(stream, x)
    np.testing.assert_array_equal(batch, stream.test_inputs[0])


def test_normalization_under_strict_promotion(digits, strict):
    stream = split(digits)
    np.testing.assert_array_equal(
        normalize(stream, digits.x_test[:3]).dtype, stream.test_inputs.dtype
    )


def test_own_statistics_in_units_of_the_raw_inputs():
    x, y = table()
    stream = class_incremental(x, y, x, y, tasks=[[0, 1, 2]], mean=x.mean(0), std=x.std(0))
    np.testing.assert_allclose(stream.test_inputs[0].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(normalize(stream, stream.train_inputs).std(0), 1, rtol=1e-5)
    tokens = np.arange(8).reshape(4, 2)
    stream = class_incremental(tokens, [0] * 4, tokens, [0] * 4, tasks=[[0]], mean=1, std=2)
    np.testing.assert_array_equal(stream.test_inputs[0], (tokens - 1) / 2)
    np.testing.assert_array_equal(normalize(stream, tokens), stream.test_inputs[0])
    pixels = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"in the units of the raw inputs, 0 to 255.*by 255"):
        normalization([pixels], (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


# --- domain-incremental


def test_classes_of_several_domains():
    (x1, y1), (x2, y2) = table(20), table(12, seed=1)
    stream = domain_incremental([(x1, y1, x2, y2), (x2, y2[:, None], x1, y1)])
    assert stream.train_targets.dtype == np.int32
    np.testing.assert_array_equal(stream.train_targets, np.concatenate([y1, y2]))
    np.testing.assert_array_equal(stream.test_sizes, [12, 20])
    np.testing.assert_array_equal(stream.test_inputs[0, :12], x2.astype(np.float32))
    assert not stream.test_inputs[0, 12:].any()
    assert not stream.test_targets[0, 12:].any()


def test_regression_and_several_labels():
    x, _ = table()
    for targets, expected in (
        (x[:, 0], x[:, 0]),
        (x[:, :2], x[:, :2]),
        (x > 0, np.float64(x > 0)),
        ((x > 0).astype(int), np.float64(x > 0)),
        (x[:, :1], x[:, :1]),
    ):
        stream = domain_incremental([(x, targets, x, targets)] * 2)
        assert stream.train_targets.dtype == stream.test_targets.dtype == np.float32
        np.testing.assert_array_equal(stream.test_targets[1], expected.astype(np.float32))
        assert stream.train_targets.shape == (2 * len(x), *expected.shape[1:])


def test_names_mean_the_same_in_all_domains():
    x, _ = table(4)
    one, two = ["b", "a", "b", "c"], ["c", "b", "c", "a"]
    stream = domain_incremental([(x, one, x, one), (x, two, x, two)])
    np.testing.assert_array_equal(stream.train_targets, [1, 0, 1, 2, 2, 1, 2, 0])


def test_data_sets_are_tasks(digits):
    stream = domain_incremental([digits, digits], mean=digits.mean, std=digits.std)
    for a, b in zip(stream, permuted(digits, num_tasks=2), strict=True):
        assert a.shape == b.shape


TASK = (X, Y, X, Y)
BAD_DOMAINS = {
    "one task": (TASK, TypeError, "for each task: got ndarray of 30 as task 1"),
    "three": ([TASK[:3]], TypeError, "got tuple of 3 as task 1"),
    "none": ([], ValueError, "at least one task"),
    "number": (3, TypeError, "must be a list with an entry for each task: got 3"),
    "shapes": ([TASK, (X[:, :2], Y, X[:, :2], Y)], ValueError, "x_train of task 2 must be float32"),
    "types": ([TASK, (X > 0, Y, X > 0, Y)], ValueError, "x_train of task 2 must be .* got bool"),
    "kinds": ([TASK, (X, Y * 1.0, X, Y * 1.0)], TypeError, "holds classes and .* holds numbers"),
    "texts": ([TASK, (X, Y, X, Y.astype(str))], TypeError, "y_test of task 2 holds strings"),
    "lengths": ([TASK, (X, Y[1:], X, Y)], ValueError, "x_train of task 2 and y_train of task 2"),
    "negative": ([TASK, (X, Y - 1, X, Y)], ValueError, "y_train of task 2 must be classes.*got -1"),
    "unknown": ([TASK, (X, Y, X, Y + 1)], ValueError, "test_targets of task 2 contain class 3"),
    "nan": ([(X, X[:, 0] * np.nan, X, X[:, 0])], ValueError, "y_train of task 1 must be finite"),
    "inexact": ([(X, np.full((30, 2), 2**25), X, X[:, :2])], ValueError, "float32 cannot hold"),
    "dates": ([(X, Y.astype("M8[s]"), X, Y.astype("M8[s]"))], TypeError, "numbers or strings: got"),
    "widths": ([(X, X, X, X[:, :2])], ValueError, r"y_test of task 1 must be float32 of shape"),
}


@pytest.mark.parametrize("case", BAD_DOMAINS)
def test_wrong_arguments_of_domain_incremental(case):
    tasks, kind, message = BAD_DOMAINS[case]
    with pytest.raises(kind, match=message):
        domain_incremental(tasks)


# --- transformed


def test_each_task_has_its_own_transformation(digits):
    flip, negative = (lambda x: x[:, :, ::-1]), (lambda x: 16 - x)
    stream = transformed(
        *digits[:4], transforms=[None, flip, negative], mean=digits.mean, std=digits.std
    )
    x = digits.x_train
    np.testing.assert_array_equal(stream.train_inputs, np.concatenate([x, x[:, :, ::-1], 16 - x]))
    np.testing.assert_array_equal(stream.test_inputs[1], stream.test_inputs[0][:, :, ::-1])
    np.testing.assert_array_equal(stream.test_targets, np.tile(digits.y_test, (3, 1)))


def in_place(x):
    x += 1
    return x


@pytest.mark.parametrize(
    ("transforms", "kind", "message"),
    [
        ([in_place], ValueError, "read-only"),
        ([lambda x: x[1:]], ValueError, "of task 1 must return as many inputs as it gets, 30"),
        ([None, lambda x: x[:, :2]], ValueError, "x_train of task 2 must be float32"),
        ([None, lambda x: None], TypeError, "transformation of task 2 must be an array"),
        ([None, 90], TypeError, "must be functions of raw inputs, or None: got 90 for task 2"),
        ([], ValueError, "transforms must have an entry for at least one task"),
    ],
)
def test_wrong_transformations(transforms, kind, message):
    before = X.copy()
    with pytest.raises(kind, match=message):
        transformed(X, Y, X, Y, transforms=transforms)
    np.testing.assert_array_equal(X, before)
    assert X.flags.writeable


# --- streams made by hand


def small():
    return class_incremental(X, Y, X, Y, tasks=[[0], [1, 2]])


def pixels():
    x = (np.arange(120).reshape(30, 2, 2) % 251).astype(np.uint8)
    return class_incremental(x, Y, x, Y, tasks=[[0], [1, 2]])


def changed(make, **fields):
    stream = make()
    return stream._replace(**{k: f(getattr(stream, k)) for k, f in fields.items()})


def nan_at(index):
    def change(x):
        x = x.copy()
        x[index] = np.nan
        return x

    return change


BAD_STREAMS = {
    "no stream": (lambda: (1, 2), TypeError, "must be a gainjax.data.Stream: got tuple"),
    "list": (
        lambda: changed(small, task_end=list),
        TypeError,
        "task_end must be an array: got lis",
    ),
    "none": (lambda: small()._replace(test_sizes=None), TypeError, "test_sizes must be an array"),
    "hole": (lambda: changed(small, task_start=lambda x: x + 1), ValueError, "without a hole"),
    "beyond": (lambda: changed(small, task_end=lambda x: x + 5), ValueError, "divide all 30"),
    "empty task": (
        lambda: changed(
            small,
            task_start=lambda x: np.array([0, 30], np.int32),
            task_end=lambda x: np.full_like(x, 30),
        ),
        ValueError,
        "task 2 has no training examples",
    ),
    "64 bits": (
        lambda: changed(small, task_end=lambda x: x.astype(np.int64)),
        ValueError,
        "task_end must be int32 of shape",
    ),
    "no test": (
        lambda: changed(small, test_sizes=lambda x: x * 0),
        ValueError,
        "test_sizes must be",
    ),
    "sizes": (lambda: changed(small, test_sizes=lambda x: x + 9), ValueError, "from 1 to 20"),
    "float64": (
        lambda: changed(small, train_inputs=np.float64),
        ValueError,
        "train_inputs must be float32 or integers of at most 32 bits: got float64",
    ),
    "test float64": (
        lambda: changed(small, test_inputs=np.float64),
        ValueError,
        "test_inputs must",
    ),
    "raw test": (lambda: changed(pixels, test_inputs=np.uint8), ValueError, "must be float32, as"),
    "test shape": (
        lambda: changed(small, test_inputs=lambda x: x[..., :2]),
        ValueError,
        "test_inputs must have shape",
    ),
    "nan": (lambda: changed(small, train_inputs=nan_at((7, 2))), ValueError, r"at index \(7, 2\)"),
    "test nan": (
        lambda: changed(small, test_inputs=nan_at((1, 0, 0))),
        ValueError,
        "test_inputs mu",
    ),
    "scale": (
        lambda: pixels()._replace(scale=None),
        ValueError,
        "must both be arrays, or both None",
    ),
    "scale 0": (lambda: changed(pixels, scale=np.zeros_like), ValueError, "scale must not be 0"),
    "shift shape": (
        lambda: pixels()._replace(shift=np.zeros(3, np.float32)),
        ValueError,
        "shift must be float32 and broadcast",
    ),
    "label": (lambda: changed(small, train_targets=lambda y: y - 1), ValueError, "from 0: got -1"),
    "padding": (
        lambda: changed(small, test_targets=lambda y: y - 1),
        ValueError,
        "test_targets mu",
    ),
    "labels 64": (lambda: changed(small, train_targets=np.int64), ValueError, "train_targets must"),
    "missing": (
        lambda: changed(small, train_targets=lambda y: y[1:]),
        ValueError,
        "train_targets mu",
    ),
    "test labels": (
        lambda: changed(small, test_targets=np.float32),
        ValueError,
        "must be int32 of sh",
    ),
    "untrained": (
        lambda: changed(small, test_targets=lambda y: y + 1),
        ValueError,
        "test_targets of task 2 contain class 3, which has no training example",
    ),
}


@pytest.mark.parametrize("case", BAD_STREAMS)
def test_wrong_streams(case):
    make, kind, message = BAD_STREAMS[case]
    with pytest.raises(kind, match=message):
        check_stream(make())


def test_streams_on_a_device_are_checked_too(digits):
    stream = jax.device_put(split(digits))
    check_stream(stream)
    assert isinstance(stream, Stream)
    assert isinstance(stream.train_inputs, jax.Array)


@settings(max_examples=examples(200), deadline=None)
@given(data=st.data())
def test_anything_as_a_field_is_accepted_or_refused_in_words(data):
    field = data.draw(st.sampled_from(Stream._fields))
    dtypes = [np.int32, np.float32, np.uint8, np.int64, bool, "<U2"]
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=31))
    value = np.zeros(shape, data.draw(st.sampled_from(dtypes)))
    stream = data.draw(st.sampled_from([small(), pixels()]))._replace(**{field: value})
    try:
        check_stream(stream)
    except (TypeError, ValueError) as error:
        message = str(error)
        assert any(name in message for name in Stream._fields)  # or one that does not fit to it
        return
    normalize(stream, stream.train_inputs)
