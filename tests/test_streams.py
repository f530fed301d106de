"""Streams: what each task holds, against independent constructions and the facts of the paper."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gainjax.data import (
    ImageDataset,
    domain_cifar100,
    load_source,
    normalise,
    permuted,
    rotated,
    split,
)

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
has_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")


@pytest.fixture(scope="module")
def digits():
    return load_source("digits")


def random_dataset(shape=(6, 6, 3), classes=10, train=40, test=25, seed=0):
    rng = np.random.default_rng(seed)
    return ImageDataset(
        name="random",
        train_images=rng.integers(0, 256, (train, *shape), np.uint8),
        train_labels=rng.permutation(np.arange(train) % classes),
        test_images=rng.integers(0, 256, (test, *shape), np.uint8),
        test_labels=rng.permutation(np.arange(test) % classes),
        num_classes=classes,
        max_value=255.0,
        mean=tuple(np.linspace(0.3, 0.6, shape[-1])),
        std=tuple(np.linspace(0.1, 0.4, shape[-1])),
    )


def scaled(dataset, images):
    """The normalisation as the specification words it, in float64."""
    return (images / dataset.max_value - dataset.mean) / dataset.std


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
    tasks, padded = stream.test_labels.shape
    assert stream.train_images.shape == (stream.task_end[-1], 6, 6, 3)
    assert stream.train_labels.shape == (stream.task_end[-1],)
    assert stream.test_images.shape == (tasks, padded, 6, 6, 3)
    assert stream.shift.shape == stream.scale.shape == (3,)
    dtypes = ["uint8", "int32", "int32", "int32", "float32", "int32", "float32", "float32"]
    assert [str(field.dtype) for field in stream] == dtypes
    assert all(isinstance(field, np.ndarray) for field in stream)
    assert stream.task_start[0] == 0
    np.testing.assert_array_equal(stream.task_start[1:], stream.task_end[:-1])
    assert ((stream.test_labels >= 0).sum(1) > 0).all()


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_is_an_argument_of_a_compiled_program(kind, digits):
    @jax.jit
    def mean_of_task(stream, k):
        x = normalise(stream, stream.train_images)
        mine = (jnp.arange(len(x)) >= stream.task_start[k]) & (
            jnp.arange(len(x)) < stream.task_end[k]
        )
        return jnp.sum(x.mean((1, 2, 3)) * mine) / jnp.sum(mine)

    stream = STREAMS[kind](digits)
    images = stream.train_images[stream.task_start[1] : stream.task_end[1]]
    np.testing.assert_allclose(mean_of_task(stream, 1), scaled(digits, images).mean(), atol=1e-5)


def test_normalise_equals_the_formula_and_the_test_images():
    dataset = random_dataset()
    stream = permuted(dataset, num_tasks=1)
    x = normalise(stream, dataset.test_images)
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x, scaled(dataset, dataset.test_images), atol=2e-6)
    np.testing.assert_array_equal(x, stream.test_images[0])
    np.testing.assert_array_equal(jax.jit(normalise)(stream, dataset.test_images), x)


@pytest.mark.parametrize("kind", STREAMS)
def test_eval_examples_is_a_fixed_subset_of_the_test_set(kind, digits):
    whole, part = STREAMS[kind](digits), STREAMS[kind](digits, eval_examples=30)
    again = STREAMS[kind](digits, eval_examples=30)
    assert part.test_labels.shape == (len(whole.test_labels), 30)
    np.testing.assert_array_equal(part.test_images, again.test_images)
    np.testing.assert_array_equal(part.train_images, whole.train_images)
    for k in range(len(whole.test_labels)):
        known, chosen = (
            {(x.tobytes(), y) for x, y in zip(s.test_images[k], s.test_labels[k], strict=True)}
            for s in (whole, part)
        )
        assert len(chosen) == 30
        assert chosen <= known
        assert len(np.unique(part.test_labels[k])) == len(
            np.unique(whole.test_labels[k][whole.test_labels[k] >= 0])
        )


def test_more_eval_examples_than_there_are_means_all(digits):
    whole, same = split(digits), split(digits, eval_examples=72)
    np.testing.assert_array_equal(whole.test_images, same.test_images)
    np.testing.assert_array_equal(
        (split(digits, eval_examples=71).test_labels >= 0).sum(1), [71, 71, 71, 71, 70]
    )


def test_domain_streams_evaluate_the_same_images_in_every_task(digits):
    np.testing.assert_array_equal(*(permuted(digits, num_tasks=2, eval_examples=20).test_labels))


# --- split


def test_split_takes_classes_in_natural_order(digits):
    stream = split(digits)
    for k in range(5):
        classes = (2 * k, 2 * k + 1)
        train, test = np.isin(digits.train_labels, classes), np.isin(digits.test_labels, classes)
        mine = slice(stream.task_start[k], stream.task_end[k])
        np.testing.assert_array_equal(stream.train_images[mine], digits.train_images[train])
        np.testing.assert_array_equal(stream.train_labels[mine], digits.train_labels[train])
        size = test.sum()
        np.testing.assert_array_equal(stream.test_labels[k, :size], digits.test_labels[test])
        assert (stream.test_labels[k, size:] == -1).all()
        assert (stream.test_images[k, size:] == 0).all()
        np.testing.assert_allclose(
            stream.test_images[k, :size], scaled(digits, digits.test_images[test]), atol=2e-6
        )
    np.testing.assert_array_equal((stream.test_labels >= 0).sum(1), [71, 71, 72, 71, 70])


def test_split_may_leave_classes_out(digits):
    stream = split(digits, classes_per_task=3, num_tasks=2)
    np.testing.assert_array_equal(np.unique(stream.train_labels), np.arange(6))
    assert len(stream.train_images) == (digits.train_labels < 6).sum()
    assert len(split(digits, classes_per_task=10).task_end) == 1


# --- permuted


def test_permuted_draws_its_permutations_in_sequence_from_one_generator():
    dataset = random_dataset()
    stream = permuted(dataset, num_tasks=3, seed=5)
    rng = np.random.default_rng(5)
    for k, order in enumerate([np.arange(36), rng.permutation(36), rng.permutation(36)]):
        mine = slice(stream.task_start[k], stream.task_end[k])
        for c in range(3):  # every channel by the same permutation
            pixels = dataset.train_images[..., c].reshape(-1, 36)
            expected = pixels[:, order].reshape(-1, 6, 6)
            np.testing.assert_array_equal(stream.train_images[mine][..., c], expected)
        test = dataset.test_images.reshape(-1, 36, 3)[:, order].reshape(-1, 6, 6, 3)
        np.testing.assert_allclose(stream.test_images[k], scaled(dataset, test), atol=4e-6)
        np.testing.assert_array_equal(stream.train_labels[mine], dataset.train_labels)
        np.testing.assert_array_equal(stream.test_labels[k], dataset.test_labels)


def test_permutations_depend_on_the_seed_and_stay_when_tasks_are_added(digits):
    two, four = permuted(digits, num_tasks=2), permuted(digits, num_tasks=4)
    np.testing.assert_array_equal(two.train_images, four.train_images[: len(two.train_images)])
    other = permuted(digits, num_tasks=2, seed=1)
    np.testing.assert_array_equal(two.test_images[0], other.test_images[0])
    assert (two.test_images[1] != other.test_images[1]).any()


# --- rotated


@settings(max_examples=60, deadline=None)
@given(
    angle=st.one_of(st.integers(-360, 360), st.floats(-720, 720)),
    shape=st.sampled_from([(28, 28, 1), (8, 8, 1), (7, 7, 3), (5, 9, 3)]),
)
def test_rotated_equals_pillow_on_each_image(angle, shape):
    dataset = random_dataset(shape, classes=2, train=3, test=2)
    stream = rotated(dataset, angles=(angle,))
    for image, turned in zip(dataset.train_images, stream.train_images, strict=True):
        picture = Image.fromarray(image if shape[-1] == 3 else image[..., 0])
        expected = np.asarray(picture.rotate(angle, resample=Image.Resampling.NEAREST))
        np.testing.assert_array_equal(turned, expected.reshape(shape))


def test_rotated_turns_counter_clockwise_and_fills_with_black(digits):
    stream = rotated(digits, angles=(0, 90, 45))
    size = len(digits.train_images)
    np.testing.assert_array_equal(stream.train_images[:size], digits.train_images)
    turned = np.rot90(digits.train_images, axes=(1, 2))  # counter-clockwise: rows towards columns
    np.testing.assert_array_equal(stream.train_images[size : 2 * size], turned)
    assert (stream.train_images[2 * size :, 0, 0] == 0).all()
    black = -np.array(digits.mean) / digits.std
    np.testing.assert_allclose(stream.test_images[2, :, 0, 0], np.tile(black, (355, 1)), rtol=1e-5)
    assert rotated(digits).task_end.tolist() == [size, 2 * size, 3 * size]


# --- domain CIFAR-100


def fake_cifar100():
    """One training and one test image of every class; superclasses as fine label mod 20."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(100)
    images = np.broadcast_to(labels[:, None, None, None], (100, 1, 1, 3)).astype(np.uint8)
    return random_dataset((1, 1, 3), 100, 100, 100)._replace(
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
        train_coarse=labels % 20,
        test_coarse=labels % 20,
    )


def test_domain_incremental_brings_one_fine_class_of_every_superclass():
    stream = domain_cifar100(fake_cifar100(), "domain-incremental")
    assert stream.task_end.tolist() == [20, 40, 60, 80, 100]
    for k in range(5):
        fine = stream.train_images[stream.task_start[k] : stream.task_end[k], 0, 0, 0]
        np.testing.assert_array_equal(np.sort(fine), np.arange(20) + 20 * k)
        coarse = stream.train_labels[stream.task_start[k] : stream.task_end[k]]
        np.testing.assert_array_equal(coarse, fine % 20)
        np.testing.assert_array_equal(np.sort(stream.test_labels[k]), np.arange(20))


def test_authors_protocol_needs_no_superclass_labels():
    dataset = fake_cifar100()._replace(train_coarse=None, test_coarse=None)
    stream = domain_cifar100(dataset)
    expected = [[4, 30, 55, 72, 95], [1, 32, 67, 73, 91], [54, 62, 70, 82, 92]]
    np.testing.assert_array_equal(np.sort(stream.train_labels.reshape(3, 5)), expected)
    with pytest.raises(ValueError, match=r"random has no superclass labels.*y_train_coarse"):
        domain_cifar100(dataset, "domain-incremental")


def test_domain_cifar100_refuses_other_data(digits):
    dataset = fake_cifar100()
    with pytest.raises(ValueError, match="must be CIFAR-100: digits has 10 classes"):
        domain_cifar100(digits)
    with pytest.raises(ValueError, match="protocol must be 'authors' or 'domain-incremental': got"):
        domain_cifar100(dataset, "domain")
    with pytest.raises(ValueError, match="20 superclasses of 5"):
        domain_cifar100(
            dataset._replace(train_coarse=dataset.train_coarse[::-1]), "domain-incremental"
        )
    uneven = np.minimum(dataset.train_labels, 19)
    with pytest.raises(ValueError, match="20 superclasses of 5"):
        domain_cifar100(
            dataset._replace(train_coarse=uneven, test_coarse=uneven), "domain-incremental"
        )
    labels = np.where(dataset.train_labels == 67, 66, dataset.train_labels)
    for protocol in ("authors", "domain-incremental"):
        with pytest.raises(ValueError, match="train_labels: no image of class 67"):
            domain_cifar100(dataset._replace(train_labels=labels), protocol)


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
        (lambda d: split(d._replace(num_classes=9)), r"train_labels must be in \[0, 9\)"),
        (lambda d: permuted(d._replace(max_value=1.0)), "at most max_value = 1.0"),
        (lambda d: rotated(d._replace(std=(0.0,))), "std and max_value must be positive"),
        (lambda d: domain_cifar100(d._replace(num_classes=100)), "no image of class 10"),
    ],
)
def test_wrong_arguments(digits, make, message):
    with pytest.raises(ValueError, match=message):
        make(digits)


# --- facts of the paper, on real data


def packed_arrays(name):
    spec = importlib.util.spec_from_file_location("packed", SHARED / "packed.py")
    packed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packed)
    return packed.load(SHARED / name)


def save_npz(path, arrays, label="labels", **more):
    keys = {"x_train": "train_images", "y_train": f"train_{label}"} | more
    keys |= {"x_test": "test_images", "y_test": f"test_{label}"}
    np.savez(path, **{key: arrays[value] for key, value in keys.items()})


@has_shared
def test_sizes_on_real_mnist(tmp_path):
    save_npz(tmp_path / "mnist.npz", packed_arrays("mnist.npz"))
    mnist = load_source("mnist", tmp_path)
    stream = split(mnist)
    np.testing.assert_array_equal((stream.test_labels >= 0).sum(1), [2115, 2042, 1874, 1986, 1983])
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    np.testing.assert_array_equal(np.bincount(stream.train_labels), counts)
    np.testing.assert_array_equal(stream.task_end, np.cumsum(np.reshape(counts, (5, 2)).sum(1)))
    for domain in (permuted(mnist, num_tasks=2), rotated(mnist, (0, 80))):
        assert domain.test_labels.shape == (2, 10_000)
        assert domain.task_end.tolist() == [60_000, 120_000]
        np.testing.assert_array_equal(domain.train_labels, np.tile(mnist.train_labels, 2))


@has_shared
def test_sizes_with_real_cifar10_labels():
    with np.load(SHARED / "cifar10.npz", allow_pickle=False) as packed:
        train, test = packed["train_labels"], packed["test_labels"]
    dataset = random_dataset((1, 1, 3), 10, len(train), len(test))
    stream = split(dataset._replace(train_labels=train, test_labels=test))
    np.testing.assert_array_equal((stream.test_labels >= 0).sum(1), [2000] * 5)
    np.testing.assert_array_equal(stream.task_end, np.arange(1, 6) * 10_000)


@has_shared
def test_real_cifar100_in_both_protocols(tmp_path):
    arrays = packed_arrays("cifar100_subset.npz")
    coarse = {f"y_{part}_coarse": f"{part}_coarse" for part in ("train", "test")}
    save_npz(tmp_path / "cifar100.npz", arrays, "fine", **coarse)
    cifar100 = load_source("cifar100", tmp_path)
    stream = domain_cifar100(cifar100)
    np.testing.assert_array_equal((stream.test_labels >= 0).sum(1), [500, 500, 500])
    np.testing.assert_array_equal(stream.task_end, [2500, 5000, 7500])
    for k in range(
        3
    ):  # the superclasses are numbered alphabetically: aquatic mammals, fish, flowers
        expected = np.unique(cifar100.train_labels[cifar100.train_coarse == k])
        mine = stream.train_labels[stream.task_start[k] : stream.task_end[k]]
        np.testing.assert_array_equal(np.unique(mine), expected)
    stream = domain_cifar100(cifar100, "domain-incremental")
    assert len(stream.task_end) == 5
    assert stream.task_end[-1] == len(cifar100.train_labels)
    for k in range(5):
        mine = slice(stream.task_start[k], stream.task_end[k])
        np.testing.assert_array_equal(np.unique(stream.train_labels[mine]), np.arange(20))


def test_mini_imagenet_is_five_tasks_of_ten_classes():
    dataset = random_dataset((1, 1, 3), 100, 50_000, 10_000)
    stream = split(dataset, classes_per_task=10, num_tasks=5)
    np.testing.assert_array_equal((stream.test_labels >= 0).sum(1), [1000] * 5)
    np.testing.assert_array_equal(stream.task_end, np.arange(1, 6) * 5_000)
