"""The convolution against XLA's own."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gainjax.models import conv
from gainjax.models.conv import conv2d

pytestmark = pytest.mark.exhaustive

# Most of the time would be compilation.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def normal(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


CASES = {
    # images, kernel, stride, padding
    "wide to wide": ((6, 8, 8, 5), (3, 3, 5, 5), 1, 1),
    "stem": ((4, 8, 8, 3), (3, 3, 3, 7), 1, 1),
    "narrowing": ((6, 7, 5, 6), (3, 3, 6, 4), 1, 1),
    "stride 2": ((6, 8, 8, 3), (3, 3, 3, 5), 2, 1),
    "stride 2, odd": ((5, 11, 11, 4), (3, 3, 4, 4), 2, 1),
    "shortcut": ((6, 8, 8, 3), (1, 1, 3, 5), 2, 0),
    "shortcut, odd": ((6, 11, 7, 3), (1, 1, 3, 5), 2, 0),
    "oblong, no padding": ((2, 9, 8, 4), (5, 2, 4, 3), 1, 0),
    "more padding than kernel": ((2, 5, 5, 3), (2, 2, 3, 2), 1, 3),
    "one pixel": ((4, 1, 1, 3), (3, 3, 3, 3), 2, 1),
}


def native(x, kernel, stride, padding):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@pytest.mark.parametrize("block_bytes", [1, 4000, 10**9], ids=["an image", "some", "all"])
@pytest.mark.parametrize("case", CASES)
def test_convolution_and_its_gradients_are_xlas(case, block_bytes, monkeypatch, x64):
    monkeypatch.setattr(conv, "_BLOCK_BYTES", block_bytes)
    x_shape, kernel_shape, stride, padding = CASES[case]
    x, kernel = normal(x_shape, 1), normal(kernel_shape, 2)

    dy = normal(jax.eval_shape(lambda: native(x, kernel, stride, padding)).shape, 3)

    def with_gradients(convolve):
        @quick
        def program(x, kernel, dy):
            y, vjp = jax.vjp(lambda x, k: convolve(x, k, stride, padding), x, kernel)
            return y, *vjp(dy)

        return program(x, kernel, dy)

    for ours, right in zip(with_gradients(conv2d), with_gradients(native), strict=True):
        np.testing.assert_allclose(ours, right, rtol=0, atol=1e-12)


def test_curvature_goes_through(x64):
    x, kernel = normal((3, 6, 6, 4), 1), normal((3, 3, 4, 4), 2)

    def product(convolve):
        loss = lambda k: jnp.sum(jnp.sin(convolve(x, k, 1, 1)))  # noqa: E731
        curvature = quick(lambda k, v: jax.jvp(jax.grad(loss), (k,), (v,))[1])
        return curvature(kernel, normal(kernel.shape, 3))

    np.testing.assert_allclose(product(conv2d), product(native), rtol=0, atol=1e-11)


def loss_gradients(x, kernel):
    return jax.grad(lambda x, k: jnp.sum(conv2d(x, k, 1, 1) ** 2), (0, 1))(x, kernel)


def test_seeds_become_a_batched_matrix_product_on_a_cpu(x64):
    x, kernel = normal((2, 4, 6, 6, 3), 1), normal((2, 3, 3, 3, 3), 2)
    over_seeds = jax.jit(jax.vmap(loss_gradients)).lower(x, kernel).compile()

    assert "convolution" not in re.findall(r"= \S+ ([\w\-]+)\(", over_seeds.as_text())
    gradients = over_seeds(x, kernel), quick(loss_gradients)(x[1], kernel[1])
    for gradient, alone in zip(*gradients, strict=True):
        np.testing.assert_allclose(gradient[1], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_the_native_convolution(platform):
    traced = jax.jit(loss_gradients).trace(jnp.ones((4, 6, 6, 3)), jnp.ones((3, 3, 3, 3)))
    program = traced.lower(lowering_platforms=(platform,)).as_text()
    assert program.count("stablehlo.convolution") == 3  # forward, and two gradients
    assert "stablehlo.while" not in program


@pytest.mark.parametrize(
    ("x_shape", "kernel_shape", "stride", "padding", "message"),
    [
        ((8, 8, 3), (3, 3, 3, 4), 1, 1, "x must have shape"),
        ((2, 8, 8, 3), (3, 3, 2, 4), 1, 1, "same C"),
        ((2, 8, 8, 3), (3, 3, 3, 4), 0, 1, "stride must be at least 1"),
        ((2, 8, 8, 3), (3, 3, 3, 4), 1, -1, "padding at least 0"),
        ((2, 2, 2, 3), (3, 3, 3, 4), 1, 0, "not smaller than the kernel"),
        ((0, 8, 8, 3), (3, 3, 3, 4), 1, 1, "at least one image"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x_shape, kernel_shape, stride, padding, message):
    with pytest.raises(ValueError, match=message):
        conv2d(jnp.ones(x_shape), jnp.ones(kernel_shape), stride, padding)
