"""Streams made by hand: what is wrong with them is said in words."""

import jax
import numpy as np
import pytest
from fuzzing import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stream_data import table

from gainjax.data import Stream, check_stream, class_incremental, load_source, normalize, split


@pytest.fixture(scope="module")
def digits():
    return load_source("digits")


X, Y = table()


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
