"""Domain CIFAR-100 in each of its protocols."""

import jax.numpy as jnp
import numpy as np
import pytest
from stream_data import has_shared, packed_arrays, random_dataset, save_npz

import gainjax
from gainjax.data import domain_cifar100, load_source


@pytest.fixture(scope="module")
def digits():
    return load_source("digits")


def fake_cifar100():
    """One training and one test image of every class; superclasses as fine label mod 20."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(100)
    images = np.broadcast_to(labels[:, None, None, None], (100, 1, 1, 3)).astype(np.uint8)
    return random_dataset((1, 1, 3), 100, 100, 100)._replace(
        x_train=images,
        y_train=labels,
        x_test=images,
        y_test=labels,
        y_train_coarse=labels % 20,
        y_test_coarse=labels % 20,
    )


def test_domain_incremental_brings_one_fine_class_of_every_superclass():
    stream = domain_cifar100(fake_cifar100(), "domain-incremental")
    assert stream.task_end.tolist() == [20, 40, 60, 80, 100]
    for k in range(5):
        fine = stream.train_inputs[stream.task_start[k] : stream.task_end[k], 0, 0, 0]
        np.testing.assert_array_equal(np.sort(fine), np.arange(20) + 20 * k)
        coarse = stream.train_targets[stream.task_start[k] : stream.task_end[k]]
        np.testing.assert_array_equal(coarse, fine % 20)
        np.testing.assert_array_equal(np.sort(stream.test_targets[k]), np.arange(20))


def test_authors_protocol_needs_no_superclass_labels():
    dataset = fake_cifar100()._replace(y_train_coarse=None, y_test_coarse=None)
    stream = domain_cifar100(dataset)
    expected = [[4, 30, 55, 72, 95], [1, 32, 67, 73, 91], [54, 62, 70, 82, 92]]
    np.testing.assert_array_equal(np.sort(stream.train_targets.reshape(3, 5)), expected)
    with pytest.raises(ValueError, match=r"random has no superclass labels.*y_train_coarse"):
        domain_cifar100(dataset, "domain-incremental")


def test_domain_cifar100_refuses_other_data(digits):
    dataset = fake_cifar100()
    with pytest.raises(ValueError, match="must be CIFAR-100: digits has 10 classes"):
        domain_cifar100(digits)
    with pytest.raises(ValueError, match="protocol must be one of authors, authors-"):
        domain_cifar100(dataset, "domain")
    with pytest.raises(ValueError, match="20 superclasses of 5"):
        domain_cifar100(
            dataset._replace(y_train_coarse=dataset.y_train_coarse[::-1]), "domain-incremental"
        )
    uneven = np.minimum(dataset.y_train, 19)
    with pytest.raises(ValueError, match="20 superclasses of 5"):
        domain_cifar100(
            dataset._replace(y_train_coarse=uneven, y_test_coarse=uneven), "domain-incremental"
        )
    labels = np.where(dataset.y_train == 67, 66, dataset.y_train)
    with pytest.raises(ValueError, match=r"class 67 .*has no training example"):
        domain_cifar100(dataset._replace(y_train=labels))


@pytest.mark.exhaustive
@has_shared
def test_real_cifar100_in_both_protocols(tmp_path):
    arrays = packed_arrays("cifar100_subset.npz")
    coarse = {f"y_{part}_coarse": f"{part}_coarse" for part in ("train", "test")}
    save_npz(tmp_path / "cifar100.npz", arrays, "fine", **coarse)
    cifar100 = load_source("cifar100", tmp_path)
    stream = domain_cifar100(cifar100)
    np.testing.assert_array_equal(stream.test_sizes, [500, 500, 500])
    np.testing.assert_array_equal(stream.task_end, [2500, 5000, 7500])
    for k in range(
        3
    ):  # the superclasses are numbered alphabetically: aquatic mammals, fish, flowers
        expected = np.unique(cifar100.y_train[cifar100.y_train_coarse == k])
        mine = stream.train_targets[stream.task_start[k] : stream.task_end[k]]
        np.testing.assert_array_equal(np.unique(mine), expected)
    stream = domain_cifar100(cifar100, "domain-incremental")
    assert len(stream.task_end) == 5
    assert stream.task_end[-1] == len(cifar100.y_train)
    for k in range(5):
        mine = slice(stream.task_start[k], stream.task_end[k])
        np.testing.assert_array_equal(np.unique(stream.train_targets[mine]), np.arange(20))


@pytest.mark.exhaustive
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
