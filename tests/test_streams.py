"""Streams: what each task holds, against independent constructions and the facts of the paper."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from stream_data import SHARED, has_shared, packed_arrays, random_dataset, save_npz, scaled

from gainjax import get_benchmark
from gainjax.data import check_stream, load_source, normalize, permuted, rotated, split


@pytest.fixture(scope="module")
def digits():
    return load_source("digits")


STREAMS = {
    "split": lambda d, **options: split(d, **options),
    "permuted": lambda d, **options: permuted(d, **options),
    "rotated": lambda d, **options: rotated(d, **options),
}


# --- what all streams share


@pytest.mark.parametrize("kind", STREAMS)
def test_shapes_dtypes_and_bounds(kind):
    dataset = random_dataset()
    stream = STREAMS[kind](dataset)
    tasks, padded = stream.test_targets.shape
    assert stream.train_inputs.shape == (stream.task_end[-1], 6, 6, 3)
    assert stream.train_targets.shape == (stream.task_end[-1],)
    assert stream.test_inputs.shape == (tasks, padded, 6, 6, 3)
    assert stream.shift.shape == stream.scale.shape == (3,)
    dtypes = ["uint8", "int32", "int32", "int32", "float32", "int32", "int32", "float32", "float32"]
    assert [str(field.dtype) for field in stream] == dtypes
    assert all(isinstance(field, np.ndarray) for field in stream)
    check_stream(stream)


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_is_an_argument_of_a_compiled_program(kind, digits):
    @jax.jit
    def mean_of_task(stream, k):
        x = normalize(stream, stream.train_inputs)
        mine = (jnp.arange(len(x)) >= stream.task_start[k]) & (
            jnp.arange(len(x)) < stream.task_end[k]
        )
        return jnp.sum(x.mean((1, 2, 3)) * mine) / jnp.sum(mine)

    stream = STREAMS[kind](digits)
    images = stream.train_inputs[stream.task_start[1] : stream.task_end[1]]
    np.testing.assert_allclose(mean_of_task(stream, 1), scaled(digits, images).mean(), atol=1e-5)


def test_normalize_equals_the_formula_and_the_test_images():
    dataset = random_dataset()
    stream = permuted(dataset, num_tasks=1)
    x = normalize(stream, dataset.x_test)
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x, scaled(dataset, dataset.x_test), atol=2e-6)
    np.testing.assert_array_equal(x, stream.test_inputs[0])
    np.testing.assert_array_equal(jax.jit(normalize)(stream, dataset.x_test), x)


@pytest.mark.parametrize("kind", STREAMS)
def test_eval_examples_is_a_fixed_subset_of_the_test_set(kind, digits):
    whole, part = STREAMS[kind](digits), STREAMS[kind](digits, eval_examples=30)
    again = STREAMS[kind](digits, eval_examples=30)
    assert part.test_targets.shape == (len(whole.test_targets), 30)
    np.testing.assert_array_equal(part.test_inputs, again.test_inputs)
    np.testing.assert_array_equal(part.train_inputs, whole.train_inputs)
    for k, size in enumerate(whole.test_sizes):
        known, chosen = (
            {(s.test_inputs[k, i].tobytes(), s.test_targets[k, i]) for i in range(s.test_sizes[k])}
            for s in (whole, part)
        )
        assert len(chosen) == 30
        assert chosen <= known
        labels = whole.test_targets[k, :size]
        assert len(np.unique(part.test_targets[k])) == len(np.unique(labels))


def test_more_eval_examples_than_there_are_means_all(digits):
    whole, same = split(digits), split(digits, eval_examples=72)
    np.testing.assert_array_equal(whole.test_inputs, same.test_inputs)
    np.testing.assert_array_equal(split(digits, eval_examples=71).test_sizes, [71, 71, 71, 71, 70])


def test_domain_streams_evaluate_the_same_images_in_every_task(digits):
    np.testing.assert_array_equal(*permuted(digits, num_tasks=2, eval_examples=20).test_targets)


# --- split


def test_split_takes_classes_in_natural_order(digits):
    stream = split(digits)
    for k in range(5):
        classes = (2 * k, 2 * k + 1)
        train, test = np.isin(digits.y_train, classes), np.isin(digits.y_test, classes)
        mine = slice(stream.task_start[k], stream.task_end[k])
        np.testing.assert_array_equal(stream.train_inputs[mine], digits.x_train[train])
        np.testing.assert_array_equal(stream.train_targets[mine], digits.y_train[train])
        size = test.sum()
        np.testing.assert_array_equal(stream.test_targets[k, :size], digits.y_test[test])
        assert (stream.test_targets[k, size:] == 0).all()
        assert stream.test_sizes[k] == size
        assert (stream.test_inputs[k, size:] == 0).all()
        np.testing.assert_allclose(
            stream.test_inputs[k, :size], scaled(digits, digits.x_test[test]), atol=2e-6
        )
    np.testing.assert_array_equal(stream.test_sizes, [71, 71, 72, 71, 70])


def test_split_may_leave_classes_out(digits):
    stream = split(digits, classes_per_task=3, num_tasks=2)
    np.testing.assert_array_equal(np.unique(stream.train_targets), np.arange(6))
    assert len(stream.train_inputs) == (digits.y_train < 6).sum()
    assert len(split(digits, classes_per_task=10).task_end) == 1


# --- permuted


def test_permuted_draws_its_permutations_in_sequence_from_one_generator():
    dataset = random_dataset()
    stream = permuted(dataset, num_tasks=3, seed=5)
    rng = np.random.default_rng(5)
    for k, order in enumerate([np.arange(36), rng.permutation(36), rng.permutation(36)]):
        mine = slice(stream.task_start[k], stream.task_end[k])
        for c in range(3):  # every channel by the same permutation
            pixels = dataset.x_train[..., c].reshape(-1, 36)
            expected = pixels[:, order].reshape(-1, 6, 6)
            np.testing.assert_array_equal(stream.train_inputs[mine][..., c], expected)
        test = dataset.x_test.reshape(-1, 36, 3)[:, order].reshape(-1, 6, 6, 3)
        np.testing.assert_allclose(stream.test_inputs[k], scaled(dataset, test), atol=4e-6)
        np.testing.assert_array_equal(stream.train_targets[mine], dataset.y_train)
        np.testing.assert_array_equal(stream.test_targets[k], dataset.y_test)


def test_permutations_depend_on_the_seed_and_stay_when_tasks_are_added(digits):
    two, four = permuted(digits, num_tasks=2), permuted(digits, num_tasks=4)
    np.testing.assert_array_equal(two.train_inputs, four.train_inputs[: len(two.train_inputs)])
    other = permuted(digits, num_tasks=2, seed=1)
    np.testing.assert_array_equal(two.test_inputs[0], other.test_inputs[0])
    assert (two.test_inputs[1] != other.test_inputs[1]).any()


# --- rotated


@settings(max_examples=60, deadline=None)
@given(
    angle=st.one_of(st.integers(-360, 360), st.floats(-720, 720)),
    shape=st.sampled_from([(28, 28, 1), (8, 8, 1), (7, 7, 3), (5, 9, 3)]),
)
def test_rotated_equals_pillow_on_each_image(angle, shape):
    dataset = random_dataset(shape, classes=2, train=3, test=2)
    stream = rotated(dataset, angles=(angle,))
    for image, turned in zip(dataset.x_train, stream.train_inputs, strict=True):
        picture = Image.fromarray(image if shape[-1] == 3 else image[..., 0])
        expected = np.asarray(picture.rotate(angle, resample=Image.Resampling.NEAREST))
        np.testing.assert_array_equal(turned, expected.reshape(shape))


def test_rotated_turns_counter_clockwise_and_fills_with_black(digits):
    stream = rotated(digits, angles=(0, 90, 45))
    size = len(digits.x_train)
    np.testing.assert_array_equal(stream.train_inputs[:size], digits.x_train)
    turned = np.rot90(digits.x_train, axes=(1, 2))  # counter-clockwise: rows toward columns
    np.testing.assert_array_equal(stream.train_inputs[size : 2 * size], turned)
    assert (stream.train_inputs[2 * size :, 0, 0] == 0).all()
    black = -np.array(digits.mean) / digits.std
    np.testing.assert_allclose(stream.test_inputs[2, :, 0, 0], np.tile(black, (355, 1)), rtol=1e-5)
    assert rotated(digits).task_end.tolist() == [size, 2 * size, 3 * size]


# --- wrong arguments


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: split(d, 3), "classes_per_task must divide the 10 classes of digits.*got 3"),
        (lambda d: split(d, 0), "classes_per_task must be an integer of at least 1: got 0"),
        (lambda d: split(d, 2.0), "classes_per_task must be an integer"),
        (lambda d: split(d, True), "classes_per_task must be an integer"),
        (lambda d: split(d, 11), "classes_per_task must divide"),
        (lambda d: split(d, 3, 4), "4 tasks of 3 classes need 12 classes: digits has 10"),
        (lambda d: split(d, 2, 0), "num_tasks must be an integer of at least 1: got 0"),
        (lambda d: split(d, eval_examples=0), "eval_examples must be an integer of at least 1"),
        (lambda d: permuted(d, eval_examples=0.5), "eval_examples must be an integer"),
        (lambda d: permuted(d, 0), "num_tasks must be an integer of at least 1: got 0"),
        (lambda d: permuted(d, seed=-1), "seed must be an integer of at least 0: got -1"),
        (lambda d: permuted(d, seed=None), "seed must be an integer"),
        (lambda d: rotated(d, ()), r"angles must be one or more finite numbers.*got \(\)"),
        (lambda d: rotated(d, (0, float("nan"))), "angles must be one or more finite numbers"),
        (lambda d: rotated(d, 80), "angles must be one or more finite numbers.*got 80"),
        (lambda d: rotated(d, "80"), "angles must be one or more finite numbers.*got '80'"),
        (lambda d: rotated(d, eval_examples=-1), "eval_examples must be an integer"),
        (
            lambda d: split(d._replace(y_train=d.y_train * 1.0)),
            "digits must have classes, integers",
        ),
        (lambda d: split(d._replace(y_train=d.y_train[1:])), "y_train must have a target for each"),
        (lambda d: permuted(d._replace(std=d.std / 255)), "must be in the units of the raw inputs"),
        (lambda d: rotated(d._replace(std=(0.0,))), "std must be positive: got 0.0"),
        (lambda d: rotated(d._replace(std=None)), "mean and std must both be given, or neither"),
        (lambda d: rotated(d._replace(mean=(1, 2))), r"mean must be numbers .* \(8, 8, 1\)"),
        (
            lambda d: rotated(
                d._replace(x_train=d.x_train[:, 0, :, 0], x_test=d.x_test[:, 0, :, 0])
            ),
            "digits must hold images of shape",
        ),
    ],
)
def test_wrong_arguments(digits, make, message):
    with pytest.raises(ValueError, match=message):
        make(digits)


# --- facts of the paper, on real data


@has_shared
def test_sizes_on_real_mnist(tmp_path):
    save_npz(tmp_path / "mnist.npz", packed_arrays("mnist.npz"))
    mnist = load_source("mnist", tmp_path)
    stream = split(mnist)
    np.testing.assert_array_equal(stream.test_sizes, [2115, 2042, 1874, 1986, 1983])
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    np.testing.assert_array_equal(np.bincount(stream.train_targets), counts)
    np.testing.assert_array_equal(stream.task_end, np.cumsum(np.reshape(counts, (5, 2)).sum(1)))
    for domain in (permuted(mnist, num_tasks=2), rotated(mnist, (0, 80))):
        assert domain.test_targets.shape == (2, 10_000)
        assert domain.task_end.tolist() == [60_000, 120_000]
        np.testing.assert_array_equal(domain.train_targets, np.tile(mnist.y_train, 2))


@has_shared
def test_sizes_with_real_cifar10_labels():
    with np.load(SHARED / "cifar10.npz", allow_pickle=False) as packed:
        train, test = packed["train_labels"], packed["test_labels"]
    dataset = random_dataset((1, 1, 3), 10, len(train), len(test))
    stream = split(dataset._replace(y_train=train, y_test=test))
    np.testing.assert_array_equal(stream.test_sizes, [2000] * 5)
    np.testing.assert_array_equal(stream.task_end, np.arange(1, 6) * 10_000)


def test_mini_imagenet_is_five_tasks_of_ten_classes():
    dataset = random_dataset((1, 1, 3), 100, 50_000, 10_000)
    stream = split(dataset, classes_per_task=10, num_tasks=5)
    np.testing.assert_array_equal(stream.test_sizes, [1000] * 5)
    np.testing.assert_array_equal(stream.task_end, np.arange(1, 6) * 5_000)


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


def test_permuted_mnist_has_the_permutations_of_the_authors(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (40, 28, 28), np.uint8)
    y = np.tile(np.arange(10), 4)
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    stream = get_benchmark("permuted-mnist").load(tmp_path)
    theirs = np.random.RandomState(42)
    orders = [np.arange(784), theirs.permutation(784), theirs.permutation(784)]
    for task, order in enumerate(orders):
        ours = np.asarray(stream.train_inputs[stream.task_start[task] :][:40]).reshape(40, 784)
        np.testing.assert_array_equal(ours, x.reshape(40, 784)[:, order])
