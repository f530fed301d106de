"""Scenarios: arrays of any kind as streams, against independent constructions; wrong ones."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_data import table

from gainjax.data import (
    check_stream,
    class_incremental,
    domain_incremental,
    load_source,
    permuted,
    split,
    transformed,
)


@pytest.fixture(scope="module")
def digits():
    return load_source("digits")


def of_task(stream, k):
    return slice(stream.task_start[k], stream.task_end[k])


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
