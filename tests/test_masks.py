"""Which parameters a gain modulates: masks, those by default, and the safe setting that follows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from modulated import make_params, run
from networks import KEY, Linen, Nnx, X, make
from numpy.testing import assert_allclose, assert_array_equal

from gainjax.gain import GainDynamics
from gainjax.models import from_linen
from gainjax.optim.masks import default_mask, resolve
from gainjax.optim.modulation import gain_modulation, ngm_sgd
from gainjax.optim.states import get_gain, slow_params

# --- Masks that are given -------------------------------------------------------------------------


def test_mask_of_nothing_is_the_base():
    params, grads = {"w": jnp.arange(3.0)}, {"w": jnp.ones(3)}
    optimizer = ngm_sgd(0.1, mask=False)
    updates, state = optimizer.update(grads, optimizer.init(params), params, uncertainty=1.0)
    assert_array_equal(
        updates["w"], optax.sgd(0.1).update(grads, optax.sgd(0.1).init(params))[0]["w"]
    )
    assert get_gain(state) > 1
    assert_array_equal(slow_params(params, state)["w"], params["w"])


@pytest.mark.parametrize(
    "mask",
    [
        {"kernel": {"a": True, "b": True}, "bias": False},
        {"kernel": True, "bias": np.False_},
        lambda params: {"kernel": {"a": True, "b": params["kernel"]["b"].ndim == 1}, "bias": False},
        lambda params: {"kernel": True, "bias": False},
    ],
    ids=["tree", "prefix", "function of a tree", "function of a prefix"],
)
def test_masks(mask):
    params = {"kernel": {"a": jnp.ones(()), "b": jnp.ones(2)}, "bias": jnp.ones(1)}
    optimizer = ngm_sgd(0.0, mask=mask)
    state = optimizer.init(params)
    updates, state = optimizer.update(params, state, params, uncertainty=1.0)
    params = optax.apply_updates(params, updates)
    expected = {"kernel": {"a": np.float32(1.4), "b": np.full(2, 1.4)}, "bias": np.ones(1)}
    jax.tree.map(lambda x, y: assert_allclose(x, y, rtol=1e-6), params, expected)
    jax.tree.map(lambda x: assert_allclose(x, 1.0, rtol=1e-6), slow_params(params, state))


def test_masks_that_do_not_fit():
    params = make_params(dtype=np.float32)
    for mask in ({"kernel": True}, {"kernel": True, "head": False}, [True, False]):
        with pytest.raises(ValueError, match=r"^mask must have the structure of the parameters"):
            ngm_sgd(0.1, mask=mask).init(params)
    for mask in ("kernel", 1, {"kernel": "on", "bias": "off"}):
        with pytest.raises(TypeError, match=r"^mask must hold booleans"):
            ngm_sgd(0.1, mask=mask).init(params)


# --- Defaults for other people's recipes ----------------------------------------------------------


DEEP = {f"layer_{i}": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)} for i in range(4)}


def test_default_is_the_safe_setting_of_as_many_layers_as_are_modulated():
    uncertainties = np.array([0.3, 9.0, 2.0, 0.0, 0.5], np.float32)
    for mask, layers in ((None, 4), (True, 8), (lambda p: {k: k == "layer_0" for k in p}, 2)):
        safe = GainDynamics.for_layers(layers, 0.8, 1.5)
        given = run(
            gain_modulation(
                optax.adam(0.1), 0.8, 1.5, safe.sensitivity, max_gain=safe.max_gain, mask=mask
            ),
            DEEP,
            uncertainties,
        )
        default = run(gain_modulation(optax.adam(0.1), 0.8, 1.5, mask=mask), DEEP, uncertainties)
        jax.tree.map(assert_array_equal, given, default)
        assert_allclose((default[1].gain.max() / 1.5) ** layers, 2, rtol=1e-5)


def test_default_follows_a_bound_that_is_given():
    optimizer = gain_modulation(optax.sgd(0.0), max_gain=1.5)
    _, states = run(optimizer, DEEP, np.ones(200, np.float32))
    assert_allclose((states.gain[0], states.gain[-1]), (1.05, 1.5), rtol=1e-5)


def test_a_given_sensitivity_has_no_bound_and_is_that_of_the_paper():
    for optimizer in (gain_modulation(optax.sgd(0.01), sensitivity=0.4), ngm_sgd(0.01)):
        _, states = run(optimizer, DEEP, np.full(300, 2.3, np.float32))
        assert_allclose(states.gain[-1], 1 + 0.4 * 2.3 / 0.1, rtol=1e-5)


def test_default_mask_leaves_biases():
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3), "norm": {"scale": jnp.ones((1, 3))}}
    trained, _ = run(ngm_sgd(0.0), params, np.ones(1, np.float32))
    moved = jax.tree.map(lambda x, y: bool((x[-1] != y).any()), trained, params)
    assert moved == {"kernel": True, "bias": False, "norm": {"scale": False}}


def test_default_mask_of_nothing_is_refused():
    params = {"w": jnp.ones(3), "b": jnp.ones(())}
    for optimizer in (ngm_sgd(0.1), gain_modulation(optax.sgd(0.1)), optax.flatten(ngm_sgd(0.1))):
        with pytest.raises(ValueError, match=r"contain none: pass mask=True"):
            optimizer.init(params)
    assert get_gain(ngm_sgd(0.1).init({})) == 1.0  # a group without parameters


def test_sensitivity_may_be_a_schedule():
    params, uncertainties = make_params(dtype=np.float32), np.full(6, 0.5, np.float32)
    constant = run(ngm_sgd(0.1, sensitivity=0.2), params, uncertainties)
    jax.tree.map(
        assert_array_equal,
        run(ngm_sgd(0.1, sensitivity=lambda n: 0.2), params, uncertainties),
        constant,
    )
    schedule = optax.piecewise_constant_schedule(0.4, {3: 0.0})
    for optimizer in (
        ngm_sgd(0.1, sensitivity=schedule),
        gain_modulation(optax.sgd(0.1), sensitivity=schedule),
    ):
        _, states = run(optimizer, params, uncertainties)
        rise = np.diff(np.append(1.0, states.gain)) + 0.1 * (np.append(1.0, states.gain[:-1]) - 1)
        assert_allclose(rise, [0.2] * 3 + [0.0] * 3, atol=1e-6)
    bounded = ngm_sgd(0.1, sensitivity=schedule, max_gain=1.25)
    assert_allclose(run(bounded, params, uncertainties)[1].gain.max(), 1.25)


# --- Masks of models of any library ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "shape", "expected"),
    [
        ("dense/kernel", (4, 3), True),
        ("dense/bias", (3,), False),
        ("query/bias", (2, 3), False),  # one axis for heads, one for their features
        ("conv/kernel", (3, 3, 1, 4), True),
        ("head/kernel", (4, 1), True),
        ("w1", (4, 3), True),
        ("b1", (4, 3), False),
        ("linear/w", (4, 3), True),
        ("linear/b", (1, 3), False),
        ("batch_norm/scale", (1, 1, 1, 3), False),
        ("batch_norm/offset", (1, 1, 1, 3), False),
        ("LayerNorm_0/weight", (4, 3), False),
        ("bn2/gamma", (1, 3), False),
        ("ln_f/w", (1, 3), False),
        ("embedding", (100, 8), False),
        ("Embed_0/embedding", (100, 8), False),
        ("embed/embeddings", (100, 8), False),
        ("pos_embed", (1, 64, 8), False),
        ("word_embeddings/weight", (100, 8), False),
        ("norm_mlp/fc/kernel", (4, 3), True),  # a name further up does not count
        ("embedder/attention/query/kernel", (4, 2, 3), True),
        ("bottleneck/kernel", (4, 3), True),
        ("b/kernel", (4, 3), True),  # a layer may have any name
        ("scale/w", (4, 3), True),
        # Words count as a whole, or by their end:
        ("layernorm_before/w", (1, 3), False),
        ("layer_normalization/w", (1, 3), False),
        ("RMSNorm/w", (1, 3), False),
        ("attnLN2/w", (1, 3), False),
        ("in_proj_bias", (2, 3), False),
        ("biases", (2, 3), False),
        ("tokenEmbeddings/weight", (100, 8), False),
        ("wte/w", (100, 8), False),
        ("token_emb/w", (100, 8), False),
        ("norm/shift", (1, 3), False),
        ("normal_head/kernel", (4, 3), True),
        ("enormous/kernel", (4, 3), True),
        ("abnormal", (4, 3), True),
        ("debias/kernel", (4, 3), True),
        ("unbiased_w", (4, 3), True),
        ("unembed/kernel", (4, 3), True),
        ("members/kernel", (4, 3), True),
        ("kernel_scale", (4, 3), True),
        ("patch_embed/kernel", (4, 3), False),  # no word tells it from `pos_embed`
    ],
)
def test_default_mask_by_names_and_axes(path, shape, expected):
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    params = functools.reduce(lambda tree, name: {name: tree}, reversed(path.split("/")), leaf)
    flat = [{path: leaf}, {path.replace("/", "."): leaf}]
    for tree in (params, *flat):
        assert jax.tree.leaves(default_mask(tree)) == [expected]


def test_default_mask_of_haiku():
    """A layer's name is its whole path there, of which only the end counts."""
    shapes = {
        "norm_mlp/~/linear_0": {"w": (4, 3), "b": (1, 3)},
        "debiased_block/~_build/linear": {"w": (4, 3)},
        "embedder/~/embed": {"embeddings": (9, 3)},
        "net/~/layer_norm": {"w": (2, 3)},
    }
    params = {name: {k: jnp.ones(x) for k, x in layer.items()} for name, layer in shapes.items()}
    assert default_mask(params) == {
        "norm_mlp/~/linear_0": {"w": True, "b": False},
        "debiased_block/~_build/linear": {"w": True},
        "embedder/~/embed": {"embeddings": False},
        "net/~/layer_norm": {"w": False},
    }


def test_default_mask_marks_both_arrays_of_weight_normalization():
    """As documented: no name tells that a norm divides the matrix."""
    eqx = pytest.importorskip("equinox")
    marks = default_mask(eqx.nn.WeightNorm(eqx.nn.Linear(3, 2, key=KEY)))
    assert [marks.layer.weight, marks.layer.bias, marks.g] == [True, False, True]


def test_default_mask_of_what_has_no_names_or_is_no_weight():
    params = [(jnp.ones((4, 3)), jnp.ones(3)), jnp.ones((4, 3), jnp.int32), 2.0, None]
    assert default_mask(params) == [(True, False), False, False, None]


def test_default_mask_of_a_state_of_nnx():
    state = nnx.state(Nnx(0.0, nnx.Rngs(0)), nnx.Param)
    marks = jax.tree.leaves_with_path(default_mask(state))
    on = {jax.tree_util.keystr(path) for path, mark in marks if mark}
    assert on == {"['first']['kernel'].value", "['last']['kernel'].value"}


def test_default_mask_knows_layers_of_equinox_by_class():
    eqx = pytest.importorskip("equinox")

    class NormFreeEmbedder(eqx.Module):  # a network may be called anything
        table: eqx.nn.Embedding
        grid: eqx.nn.LayerNorm
        mix: eqx.nn.Conv2d
        tail: list

    model = NormFreeEmbedder(
        eqx.nn.Embedding(7, 4, key=KEY),
        eqx.nn.LayerNorm((3, 4)),
        eqx.nn.Conv2d(1, 2, 3, key=KEY),  # its bias has three axes
        [eqx.nn.Linear(4, 2, key=KEY), jax.nn.relu],
    )

    class UnbiasedLinear(eqx.Module):
        weight: jax.Array

    assert default_mask(UnbiasedLinear(jnp.ones((4, 3)))).weight
    marks = default_mask(model)
    assert [marks.table.weight, marks.grid.weight, marks.grid.bias] == [False] * 3
    assert [marks.mix.weight, marks.mix.bias] == [True, False]
    assert [marks.tail[0].weight, marks.tail[0].bias] == [True, False]


def test_a_mask_that_can_be_called_is_a_tree_all_the_same():
    eqx = pytest.importorskip("equinox")
    net = eqx.nn.MLP(4, 3, 8, 1, key=KEY)
    off = jax.tree.map(lambda _: False, net)
    mask = eqx.tree_at(lambda net: net.layers[1].weight, off, True)
    assert callable(mask)
    params = eqx.filter(net, eqx.is_inexact_array)
    assert resolve(mask, params) is mask
    optimizer = gain_modulation(optax.sgd(0.0), mask=mask)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params, uncertainty=1.0)
    moved = jax.tree.map(lambda update: bool(jnp.any(update != 0)), updates)
    assert jax.tree.leaves(moved) == [False, False, True, False]
    # A function stays one, also as a module without booleans of its own.
    assert resolve(default_mask, params).layers[0].weight
    assert resolve(functools.partial(default_mask), params).layers[0].weight

    class Everything(eqx.Module):
        def __call__(self, params):
            return jax.tree.map(lambda _: True, params)

    assert all(jax.tree.leaves(resolve(Everything(), params)))
    with pytest.raises(TypeError, match="mask must hold booleans"):
        resolve(eqx.tree_at(lambda net: net.layers[0].weight, mask, 1.0), params)


@pytest.mark.parametrize("mask", [True, {"first": True, "norm": False, "last": False}])
def test_masks_may_be_prefixes_or_functions(mask):
    for given in (mask, lambda params: mask):
        model = from_linen(Linen(0.0), mask=given)
        params, _ = jax.eval_shape(model.init, KEY, X)
        marks = model.modulated(params)
        assert jax.tree.structure(marks) == jax.tree.structure(params)
        assert marks["first"] == {"kernel": True, "bias": True}
        assert marks["last"]["kernel"] is (mask is True)


def test_masks_that_do_not_fit_are_refused():
    params, _ = jax.eval_shape(make("linen").init, KEY, X)
    with pytest.raises(ValueError, match="structure of the parameters"):
        from_linen(Linen(0.0), mask={"first": True}).modulated(params)
    with pytest.raises(TypeError, match="must hold booleans"):
        from_linen(Linen(0.0), mask=0.5).modulated(params)
