"""Curvature and landscapes of a loss, against the whole Hessian and plain geometry in float64."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from jax.flatten_util import ravel_pytree

from gainjax import analysis

pytestmark = pytest.mark.exhaustive


@pytest.fixture
def network():
    """A network with modulated kernels and free biases, and its loss, in float64."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 4)
        params = {
            "kernel": jax.random.normal(keys[0], (3, 4)),
            "bias": jax.random.normal(keys[1], (4,)),
            "head": jax.random.normal(keys[2], (4, 2)),
        }
        x = jax.random.normal(keys[3], (6, 3))
        mask = {"kernel": True, "bias": False, "head": True}

        def loss(p):
            outputs = jnp.tanh(x @ p["kernel"] + p["bias"]) @ p["head"]
            return jnp.mean(jax.nn.logsumexp(outputs, -1) - outputs[:, 0])

        yield loss, params, mask


def test_curvature_is_that_of_the_whole_hessian(network):
    loss, params, _ = network
    flat, unravel = ravel_pytree(params)
    dense = np.asarray(jax.hessian(lambda x: loss(unravel(x)))(flat))
    values = np.linalg.eigvalsh(dense)
    largest = values[np.argsort(-np.abs(values))]
    found = analysis.curvature(loss, params, eigenvalues=3, samples=4000)
    np.testing.assert_allclose(found.eigenvalues, largest[:3], rtol=1e-8)
    assert abs(found.trace - np.trace(dense)) < 4 * found.trace_error
    assert found.trace_error < 0.1
    vector = jax.tree.map(jnp.ones_like, params)
    product = analysis.hessian_vector_product(loss, params, vector)
    np.testing.assert_allclose(ravel_pytree(product)[0], dense @ np.ones(len(flat)), atol=1e-12)


def test_raw_curvature_is_the_effective_one_times_the_squared_gain(network):
    """With free biases in blocks: g², g and 1."""
    loss, params, mask = network
    gain = 1.7
    raw = jax.tree.map(lambda on, x: x / gain if on else x, mask, params)
    of_raw = analysis.in_raw_coordinates(loss, gain, mask)
    assert of_raw(raw) == pytest.approx(float(loss(params)), rel=1e-14)
    flat, unravel = ravel_pytree(params)
    of_flat = jax.hessian(lambda x: loss(unravel(x)))(flat)
    raw_flat = jax.hessian(lambda x: of_raw(unravel(x)))(ravel_pytree(raw)[0])
    on = ravel_pytree(jax.tree.map(lambda m, x: jnp.full_like(x, m), mask, params))[0] > 0
    factor = jnp.where(on, gain, 1.0)
    np.testing.assert_allclose(raw_flat, of_flat * jnp.outer(factor, factor), atol=1e-12)
    whole = jax.tree.map(lambda _: True, mask)
    flatter = analysis.in_raw_coordinates(loss, gain, whole)
    every = jax.tree.map(lambda x: x / gain, params)
    top, above = (
        analysis.curvature(f, p, samples=2).eigenvalues
        for f, p in ((loss, params), (flatter, every))
    )
    np.testing.assert_allclose(above, gain**2 * top, rtol=1e-9)


def test_wrong_numbers_are_refused(network):
    loss, params, _ = network
    with pytest.raises(ValueError, match="eigenvalues must be at most 23: got 24"):
        analysis.curvature(loss, params, eigenvalues=24)
    with pytest.raises(ValueError, match="eigenvalues must be an integer"):
        analysis.curvature(loss, params, eigenvalues=1.5)
    with pytest.raises(ValueError, match="loss must be finite at params: got inf"):
        analysis.curvature(lambda p: loss(p) + jnp.inf, params)
    with pytest.raises(ValueError, match="samples must be an integer of at least 2: got 1"):
        analysis.curvature(loss, params, samples=1)
    with pytest.raises(ValueError, match="corners must be three sets of parameters: got 2"):
        analysis.on_plane(loss, [params, params])
    for wrong in ({"points": 1}, {"margin": -1.0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            analysis.on_plane(loss, [params, params, params], **wrong)
    with pytest.raises(ValueError, match="lie on one line"):
        analysis.on_plane(loss, [params, params, params])


def test_curvature_of_a_loss_that_refers_to_something_else_than_before():
    scale = [1.0]

    def loss(x):
        return scale[0] * jnp.sum(x**2)

    found = []
    for scale[0] in (1.0, 3.0):
        found.append(analysis.curvature(loss, jnp.ones(3), samples=2).eigenvalues[0])
    np.testing.assert_allclose(found, [2.0, 6.0], rtol=1e-5)


def test_landscape_has_the_losses_of_its_weights(network):
    loss, params, _ = network
    keys = jax.random.split(jax.random.key(7), 3)
    corners = [
        params,
        *(jax.tree.map(lambda x, k=k: x + jax.random.normal(k, x.shape), params) for k in keys[:2]),
    ]
    line = analysis.along_line(loss, corners[0], corners[1], [0.0, 0.3, 1.0])
    np.testing.assert_allclose(line[[0, 2]], [loss(corners[0]), loss(corners[1])], rtol=1e-12)
    both = analysis.along_line(lambda p: jnp.stack([loss(p), 2 * loss(p)]), *corners[:2], [0.3])
    np.testing.assert_allclose(both, [[line[1], 2 * line[1]]], rtol=1e-12)
    plane = analysis.on_plane(loss, corners, others=[corners[2]], points=2, margin=0.0)
    flat = [np.asarray(ravel_pytree(corner)[0]) for corner in corners]
    for i in range(3):
        for j in range(3):  # distances on the plane are distances
            np.testing.assert_allclose(
                np.linalg.norm(plane.corners[i] - plane.corners[j]),
                np.linalg.norm(flat[i] - flat[j]),
            )
    np.testing.assert_allclose(plane.others[0], plane.corners[2])
    e1 = (flat[1] - flat[0]) / np.linalg.norm(flat[1] - flat[0])
    e2 = flat[2] - flat[0] - ((flat[2] - flat[0]) @ e1) * e1
    e2 /= np.linalg.norm(e2)
    unravel = ravel_pytree(params)[1]
    right = loss(unravel(flat[0] + plane.x[1] * e1 + plane.y[0] * e2))
    assert plane.loss[0, 1] == pytest.approx(float(right), rel=1e-12)


def test_figure_of_a_landscape_has_its_means_and_its_weights():
    rng = np.random.default_rng(0)
    places = np.linspace(0, 2, 5)
    at = {"setting": ["sgd", "a $b"], "loss": ["task 1", "task 2"], "place": places}
    dims = ("setting", "loss", "seed", "place")
    lines = xr.DataArray(rng.uniform(0.1, 1, (2, 2, 3, 5)), at, dims)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 2.0]])
    axis = np.linspace(-1, 3, 4)
    plane = analysis.Plane(axis, axis, rng.uniform(0.01, 10, (4, 4)), corners, corners[:2])
    planes = {"sgd": {"of both": plane}, "a $b": {"of both": plane}}
    figure = analysis.plot_landscape(lines, planes)
    line, of_plane = figure.axes[2:4]  # of the second setting
    assert line.get_title() == r"a \$b"
    for drawn, name in zip(line.lines, at["loss"], strict=False):
        expected = lines.sel(setting="a $b", loss=name).mean("seed")
        np.testing.assert_allclose(drawn.get_ydata(), expected)
    dots, crosses = of_plane.lines
    np.testing.assert_allclose(dots.get_xydata(), corners[:2])
    np.testing.assert_allclose(crosses.get_xydata(), corners)
    assert [text.get_text() for text in of_plane.texts] == ["before", "during", "after"]
    figure.savefig(io.BytesIO())
    assert len(analysis.plot_landscape(lines).axes) == 2
    direct = lines.isel(place=[0, 2, 4]).assign_coords(place=[0, 0.5, 1])
    drawn = analysis.plot_landscape(lines, direct=direct, colors={"task 2": "#123456"}).axes[1]
    of_direct = drawn.lines[3]  # after a line of each loss and the direct one of the first
    assert of_direct.get_color() == "#123456"
    np.testing.assert_allclose(of_direct.get_xdata(), [0, 1, 2])
    expected = direct.sel(setting="a $b", loss="task 2").mean("seed")
    np.testing.assert_allclose(of_direct.get_ydata(), expected)
    with pytest.raises(
        ValueError, match=r"direct must be of each loss of lines, .* got \['task 1'\]"
    ):
        analysis.plot_landscape(lines, direct=direct.sel(loss=["task 1"]))
    with pytest.raises(ValueError, match="lines must be over loss, place, seed, setting: got"):
        analysis.plot_landscape(lines.mean("seed"))
    with pytest.raises(ValueError, match=r"of of both for every setting: those of 'a .b' are"):
        analysis.plot_landscape(lines, {"sgd": {"of both": plane}})
