"""Models of any library: the same network is the same, and none of them leaks or forgets."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from networks import CLASSES, HIDDEN, INPUTS, LIBRARIES, Linen, Nnx, filled, make, renamed, weights
from numpy.testing import assert_allclose, assert_array_equal

from gainjax.gain import GainDynamics, predictive_entropy
from gainjax.models import (
    MLP,
    GainDense,
    Model,
    SlimResNet18,
    as_model,
    from_equinox,
    from_functions,
    from_linen,
    from_nnx,
    modulated_mask,
)
from gainjax.optim.masks import default_mask, resolve
from gainjax.optim.modulation import gain_modulation
from gainjax.optim.states import get_gain

X = jnp.asarray(np.random.default_rng(1).normal(size=(16, INPUTS)), jnp.float32)
LABELS = jnp.arange(16) % CLASSES
KEY = jax.random.key(7)
each_library = pytest.mark.parametrize("library", LIBRARIES)


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(assert_array_equal, a, b)


def mean_loss(outputs):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, LABELS).mean()


def loss_and_gradient(model, params, state, key):
    def loss(params):
        outputs, new_state = model.apply(params, state, X, train=True, key=key)
        return mean_loss(outputs), (outputs, new_state)

    return jax.value_and_grad(loss, has_aux=True)(params)


# --- One network of five libraries ------------------------------------------------------------


@functools.cache
def reference():
    model = make("linen")
    _, state = model.init(KEY, X)
    (_, (outputs, state)), grads = loss_and_gradient(model, weights(), state, KEY)
    return outputs, grads, model.apply(weights(), state, X, train=False, key=None)[0]


@pytest.mark.exhaustive
@each_library
def test_the_same_weights_give_the_same_outputs_and_gradients(library):
    model = make(library)
    params, state = jax.jit(model.init)(KEY, X)
    params = filled(library, params, weights())
    (_, (outputs, state)), grads = loss_and_gradient(model, params, state, KEY)
    right_outputs, right_grads, right_evaluated = reference()
    close = functools.partial(assert_allclose, rtol=2e-4, atol=2e-5)
    close(outputs, right_outputs)
    jax.tree.map(lambda a, b: close(a, b.reshape(a.shape)), right_grads, renamed(library, grads))
    evaluated, _ = model.apply(params, state, X, train=False, key=None)
    if library not in ("equinox", "haiku"):  # which correct running averages for their start
        close(evaluated, right_evaluated)


@each_library
def test_statistics_move_in_training_alone(library):
    model = make(library)
    params, state = model.init(KEY, X)
    outputs, same = model.apply(params, state, X, train=False, key=None)
    equal(same, state)
    _, moved = model.apply(params, state, 2 * X + 1, train=True, key=KEY)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (moved, state)), strict=True))
    assert (model.apply(params, moved, X, train=False, key=None)[0] != outputs).any()


@each_library
def test_dropout_follows_the_key_and_is_off_in_evaluation(library):
    model = make(library, rate=0.5)
    params, state = model.init(KEY, X)
    _, state = model.apply(params, state, X, train=True, key=KEY)

    def trained(key):
        return model.apply(params, state, X, train=True, key=key)[0]

    assert_array_equal(trained(KEY), trained(KEY))
    one, two = trained(KEY), trained(jax.random.key(8))
    assert (one != two).any()
    assert len(np.unique(one - two, axis=0)) > 8  # not one mask for all examples
    without, _ = make(library).apply(params, state, X, train=False, key=None)
    assert_array_equal(model.apply(params, state, X, train=False, key=None)[0], without)


@pytest.mark.exhaustive
@each_library
def test_seeds_together_are_each_alone(library):
    model = make(library, rate=0.5)
    optimizer = gain_modulation(optax.sgd(0.05), sensitivity=0.1)

    def run(key):
        params, state = model.init(key, X)

        def body(carry, key):
            params, state, opt_state = carry
            (loss, (outputs, state)), grads = loss_and_gradient(model, params, state, key)
            updates, opt_state = optimizer.update(
                grads, opt_state, params, uncertainty=predictive_entropy(outputs)
            )
            return (optax.apply_updates(params, updates), state, opt_state), loss

        (params, state, _), losses = jax.lax.scan(
            body, (params, state, optimizer.init(params)), jax.random.split(key, 5)
        )
        return losses, jax.tree.leaves((params, state))

    keys = jax.random.split(KEY, 3)
    together = jax.jit(jax.vmap(run))(keys)
    for i in (0, 2):
        alone = jax.jit(run)(keys[i])
        close = functools.partial(assert_allclose, rtol=1e-4, atol=1e-5)
        jax.tree.map(lambda a, b, i=i, close=close: close(a[i], b), together, alone)
    assert (together[0][0] != together[0][2]).all()


@pytest.mark.exhaustive
@each_library
def test_parameters_and_state_are_arrays_of_one_structure(library):
    model = make(library, rate=0.5)
    abstract = jax.eval_shape(model.init, KEY, X)
    params, state = jax.jit(model.init)(KEY, X)
    for i, part in enumerate((params, state)):
        assert jax.tree.structure(part) == jax.tree.structure(abstract[i])
        for leaf in jax.tree.leaves(part):
            assert not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            assert not leaf.weak_type
    # Stored as NumPy arrays and read again, they work as before.
    stored = jax.tree.map(np.asarray, (params, state))
    step = jax.jit(model.apply, static_argnames="train")
    outputs, new_state = step(*stored, X, train=True, key=KEY)
    assert outputs.shape == (len(X), CLASSES)
    assert jax.tree.structure(new_state) == jax.tree.structure(state)


@each_library
def test_default_mask_marks_the_two_matrices(library):
    model = make(library)
    params, _ = model.init(KEY, X)
    marks = model.modulated(params)
    assert jax.tree.structure(marks) == jax.tree.structure(params)
    shapes, _ = jax.eval_shape(model.init, KEY, X)
    assert jax.tree.leaves(model.modulated(shapes)) == jax.tree.leaves(marks)
    layer, norm = {"kernel": True, "bias": False}, {"scale": False, "bias": False}
    named = jax.tree.map(bool, renamed(library, marks))
    assert named == {"first": layer, "norm": norm, "last": layer}
    # The gain of the optimizer multiplies those and no others.
    optimizer = gain_modulation(optax.sgd(0.0), mask=marks)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, opt_state = optimizer.update(zeros, optimizer.init(params), params, uncertainty=1.0)
    factor = jnp.where(jnp.asarray(True), get_gain(opt_state), 1)
    after = optax.apply_updates(params, updates)
    jax.tree.map(
        lambda on, a, b: assert_allclose(b, a * factor if on else a, rtol=1e-6),
        marks,
        params,
        after,
    )


# --- Masks ------------------------------------------------------------------------------------


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


# --- Linen ------------------------------------------------------------------------------------


def networks_with_dynamics():
    mlp = MLP((8, 7, 3), (0.5, 0.5, 0.5), use_bias=True)
    return {"mlp": (mlp, X), "resnet": (SlimResNet18(3, 2), X[:4, :3].reshape(2, 2, 1, 3))}


@pytest.mark.parametrize("name", ["mlp", "resnet"])
@pytest.mark.parametrize("modulate", ["all", "head"])
def test_the_presets_have_both_forms(name, modulate):
    module, x = networks_with_dynamics()[name]
    model = from_linen(module).choose(modulate)
    twin = model.twin(GainDynamics(baseline=1.5))
    module = module.clone(modulate=modulate)
    init = functools.partial(jax.eval_shape, module.clone(dynamics=GainDynamics()).init)
    variables = init(KEY, x)
    params, state = jax.eval_shape(model.init, KEY, x)
    assert params == variables["params"]
    assert "gain" not in state
    assert model.modulated(params) == modulated_mask(params, variables["gain"])
    own_params, own_state = jax.eval_shape(twin.init, KEY, x)
    assert own_params == params
    assert own_state["gain"] == variables["gain"]
    assert twin.modulated(params) == model.modulated(params)
    gains = {"gain": jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1.5), variables["gain"])}
    assert {name: gain.shape for name, gain in twin.gains_of(gains).items()} == {"gain": ()}
    assert twin.gains_of(gains)["gain"] == 1.5
    assert model.gains_of(state) == {}


def test_the_adapter_changes_no_bit_of_the_mlp():
    module = MLP((8, 7, 3), (0.5, 0.5, 0.5))
    model = from_linen(module)
    params, state = model.init(KEY, X)
    equal(params, module.init(KEY, X)["params"])
    assert state == {}
    outputs, state = model.apply(params, state, X, train=True, key=KEY)
    assert_array_equal(outputs, module.apply({"params": params}, X))
    assert state == {}
    twin = model.twin(GainDynamics())
    params, state = twin.init(KEY, X)
    outputs, moved = twin.apply(params, state, X, train=True, key=KEY)
    variables = {"params": params, **state}
    right, right_state = module.clone(dynamics=GainDynamics()).apply(variables, X, mutable=["gain"])
    assert_array_equal(outputs, right)
    equal(moved, right_state)
    equal(twin.apply(params, moved, X, train=False, key=None)[1], moved)


def test_dynamics_of_a_twin_may_be_traced():
    model = from_linen(MLP((5, 3), (0.5, 0.5)))

    @jax.vmap
    def gain(sensitivity):
        twin = model.twin(GainDynamics(sensitivity=sensitivity))
        params, state = twin.init(KEY, X)
        outputs, state = twin.apply(params, state, X, train=True, key=KEY)
        return twin.gains_of(state)["gain"], predictive_entropy(outputs)

    gains, entropy = gain(jnp.array([0.0, 0.5, 2.0]))
    assert_allclose(gains, 1 + np.array([0, 0.5, 2]) * entropy, rtol=1e-6)


def test_a_choice_is_one_model_each():
    model = from_linen(MLP((5, 3), (0.5, 0.5)))
    assert model.choose("head") is model.choose("head")
    with pytest.raises(ValueError, match="modulate must be 'head' or 'all'"):
        model.choose("tail").init(KEY, X)


def test_the_mask_of_gains_is_known_after_initialization():
    model = from_linen(MLP((5, 3), (0.5, 0.5)))
    params = MLP((5, 3), (0.5, 0.5)).init(KEY, X)["params"]
    with pytest.raises(ValueError, match=r"call jax.eval_shape\(model.init, key, x\) first"):
        model.modulated(params)
    jax.eval_shape(model.init, KEY, X)
    assert all(jax.tree.leaves(model.modulated(params)))


def test_a_mask_of_ones_own_ends_the_form_in_the_model():
    model = from_linen(MLP((5, 3), (0.5, 0.5)), mask={"layer_0": True, "layer_1": False})
    assert (model.twin, model.choose) == (None, None)
    params, _ = model.init(KEY, X)
    assert jax.tree.leaves(model.modulated(params)) == [True, False]


def test_a_field_called_dynamics_without_gains_is_told():
    class Other(nn.Module):
        dynamics: object = None

        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x)

    with pytest.raises(ValueError, match="no collection 'gain'"):
        from_linen(Other()).init(KEY, X)
    assert from_linen(Other(dynamics="leapfrog")).twin is None
    assert from_linen(Other(), mask=default_mask).init(KEY, X)[1] == {}


@pytest.mark.parametrize("word", ["train", "training", "is_training", "deterministic"])
def test_linen_is_told_whether_it_trains(word):
    body = f"def __call__(self, x, {word}): return x * (2.0 if {word} else 1.0)"
    scope: dict = {}
    exec(body, scope)
    network = type("Network", (nn.Module,), {"__call__": nn.compact(scope["__call__"])})
    model = from_linen(network())
    params, state = model.init(KEY, X)
    trained, _ = model.apply(params, state, X, train=True, key=KEY)
    evaluated, _ = model.apply(params, state, X, train=False, key=None)
    assert (trained[0, 0] > evaluated[0, 0]) == ((word != "deterministic") == (X[0, 0] > 0))


def test_every_stream_of_linen_is_served_with_keys_of_its_own():
    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            if not train:
                return x
            streams = ("dropout", "noise", "path")
            return jnp.stack([jax.random.normal(self.make_rng(name)) for name in streams])

    model = from_linen(Noisy())
    numbers, _ = model.apply({}, {}, X, train=True, key=KEY)
    others, _ = model.apply({}, {}, X, train=True, key=jax.random.key(8))
    assert len(np.unique([*numbers, *others])) == 6


def test_any_collection_is_state_and_a_growing_one_is_refused():
    class Counts(nn.Module):
        sows: bool = False

        @nn.compact
        def __call__(self, x):
            calls = self.variable("counts", "calls", lambda: jnp.int32(0))
            if not self.is_initializing():
                calls.value += 1
            if self.sows:
                self.sow("losses", "norm", jnp.sum(x))
            return x

    model = from_linen(Counts())
    params, state = model.init(KEY, X)
    for calls in range(3):
        assert state["counts"]["calls"] == calls
        _, state = model.apply(params, state, X, train=True, key=KEY)
    model = from_linen(Counts(sows=True))
    with pytest.raises(ValueError, match="Counts must keep the structure of the state"):
        model.apply(*model.init(KEY, X), X, train=True, key=KEY)


def test_partitioned_parameters_are_taken_out_of_their_boxes():
    init = nn.with_partitioning(nn.initializers.ones, ("data", None))
    model = from_linen(nn.Dense(3, kernel_init=init))
    params, state = model.init(KEY, X)
    assert params["kernel"].shape == (INPUTS, 3)
    assert_allclose(model.apply(params, state, X, train=False, key=None)[0][:, 0], X.sum(1), 1e-5)


# --- NNX --------------------------------------------------------------------------------------


def test_nnx_starts_and_trains_as_on_its_own():
    model = from_nnx(lambda rngs: Nnx(0.0, rngs))
    params, state = model.init(KEY, X)
    net = Nnx(0.0, nnx.Rngs(KEY))
    equal(params, nnx.to_pure_dict(nnx.state(net, nnx.Param)))
    equal(state, nnx.to_pure_dict(nnx.state(net, nnx.BatchStat)))

    grads = nnx.grad(lambda net: mean_loss(net(X)))(net)
    (_, (_, state)), ours = loss_and_gradient(model, params, state, KEY)
    equal(ours, nnx.to_pure_dict(grads))
    equal(state, nnx.to_pure_dict(nnx.state(net, nnx.BatchStat)))
    net.eval()
    assert_array_equal(model.apply(params, state, X, train=False, key=None)[0], net(X))


def test_each_dropout_of_nnx_has_a_key_of_its_own():
    class Two(nnx.Module):
        def __init__(self, rngs):
            self.rngs = rngs  # shared
            self.layers = nnx.List([nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)])

        def __call__(self, x, train):
            noise = jax.random.bernoulli(self.rngs.noise(), 0.5, x.shape)
            return jnp.stack([*(layer(x) for layer in self.layers), jnp.where(noise, x, 0)])

    model = from_nnx(Two)
    params, state = model.init(KEY, X)
    assert (params, state) == ({}, {})
    zero = np.asarray(model.apply({}, {}, jnp.ones((64, 8)), train=True, key=KEY)[0]) == 0
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert 0.4 < np.mean(zero[a] == zero[b]) < 0.6


@pytest.mark.filterwarnings("ignore:Using 'Module.sow")
def test_own_variables_of_nnx_are_state_and_new_ones_are_refused():
    class Count(nnx.Variable):
        pass

    class Counting(nnx.Module):
        def __init__(self, grows):
            self.grows = grows
            self.count = Count(jnp.int32(0))
            self.key = jax.random.key(0)  # a bare key is random, too

        def __call__(self, x):
            self.count[...] += 1
            self.sow(nnx.Intermediate, "seen", x)
            if self.grows:
                self.more = Count(jnp.int32(0))
            return x

    model = from_nnx(lambda rngs: Counting(False))
    params, state = model.init(KEY, X)
    assert list(state) == ["count"]
    for count in range(3):
        assert state["count"] == count
        _, state = model.apply(params, state, X, train=True, key=KEY)
    model = from_nnx(lambda rngs: Counting(True))
    with pytest.raises(ValueError, match="Counting must keep the structure of the state"):
        model.apply(*model.init(KEY, X), X, train=True, key=KEY)


def test_layers_of_nnx_in_lists():
    def network(rngs):
        return nnx.Sequential(
            nnx.Linear(INPUTS, 4, rngs=rngs), nnx.relu, nnx.Linear(4, 3, rngs=rngs)
        )

    model = from_nnx(network)
    params, state = model.init(KEY, X)
    outputs, _ = model.apply(params, state, X, train=True, key=KEY)
    assert_array_equal(outputs, network(nnx.Rngs(KEY))(X))
    assert sum(jax.tree.leaves(model.modulated(params))) == 2


# --- Equinox ----------------------------------------------------------------------------------


@pytest.fixture
def eqx():
    return pytest.importorskip("equinox")


@pytest.mark.exhaustive
def test_equinox_is_called_by_what_it_takes(eqx):
    plain = from_equinox(lambda key: eqx.nn.MLP(INPUTS, 3, 8, 1, key=key))
    params, state = jax.jit(plain.init)(KEY, X)
    outputs, _ = plain.apply(params, state, X, train=True, key=KEY)
    assert_allclose(outputs, jax.vmap(eqx.nn.MLP(INPUTS, 3, 8, 1, key=KEY))(X), rtol=1e-6)

    class Bare(eqx.Module):
        weight: jax.Array
        order: jax.Array

        def __call__(self, x):
            return self.weight @ x[self.order]

    order = jnp.arange(INPUTS)[::-1]
    bare = from_equinox(lambda key: Bare(jax.random.normal(key, (3, INPUTS)), order))
    params, state = bare.init(KEY, X)
    assert len(jax.tree.leaves(params)) == len(jax.tree.leaves(state)) == 1
    outputs, _ = bare.apply(params, state, X, train=True, key=KEY)
    assert_allclose(outputs, X[:, ::-1] @ params.weight.T, rtol=1e-5, atol=1e-6)

    def sequential(key):
        layers = [eqx.nn.Linear(INPUTS, 3, key=key), eqx.nn.Dropout(0.5)]
        return eqx.nn.Sequential([*layers, eqx.nn.BatchNorm(3, axis_name="batch", mode="ema")])

    model = from_equinox(sequential)
    params, state = model.init(KEY, X)
    outputs, moved = model.apply(params, state, X, train=True, key=KEY)
    assert outputs.shape == (len(X), 3)
    assert not eqx.tree_equal(moved, state)


@pytest.mark.parametrize("library", ["equinox"])
def test_a_mask_of_equinox_from_another_module_of_the_kind(eqx, library):
    # Its markers of state are other objects, so its structure is not that of the parameters.
    import networks

    net = networks.equinox_network(0.0, KEY)
    off = jax.tree.map(lambda _: False, net)
    mask = eqx.tree_at(lambda net: net.last.weight, off, True)
    model = from_equinox(lambda key: networks.equinox_network(0.0, key), mask=mask)
    params, _ = jax.eval_shape(model.init, KEY, X)
    marks = renamed(library, model.modulated(params))
    assert [bool(x) for x in jax.tree.leaves(marks)] == [False, False, False, True, False, False]
    prefix = eqx.tree_at(lambda net: net.first, off, True)
    marks = from_equinox(lambda key: networks.equinox_network(0.0, key), mask=prefix).modulated(
        params
    )
    assert marks.first.weight
    assert marks.first.bias
    hole = eqx.tree_at(lambda net: net.first.bias, off, None)
    with pytest.raises(ValueError, match=r"mask must mark each parameter: .first.bias is not in"):
        from_equinox(lambda key: net, mask=hole).modulated(params)


def test_random_keys_are_not_kept_in_a_module_of_equinox(eqx):
    class Keeper(eqx.Module):
        key: jax.Array

        def __call__(self, x):
            return x

    with pytest.raises(TypeError, match="arrays without random keys"):
        from_equinox(Keeper).init(KEY, X)


# --- Plain functions, and the door ------------------------------------------------------------


def identity(params, state, x, *, train, key):
    return x, state


def test_functions_of_another_form_are_refused():
    def init(key, x):
        return {}, {}

    with pytest.raises(TypeError, match=r"init must be a function called as init\(key, x\)"):
        from_functions(lambda key: {}, identity)
    with pytest.raises(TypeError, match=r"called as apply\(params, state, x, \*, train, key\)"):
        from_functions(init, lambda params, x: x)
    with pytest.raises(TypeError, match=r"apply must be a function .* got 3"):
        from_functions(init, 3)
    model = from_functions(init, lambda params, state, x, *, train, key: x)
    with pytest.raises(TypeError, match=r"apply must return a pair \(outputs, state\)"):
        model.apply({}, {}, X, train=True, key=KEY)
    model = from_functions(lambda key, x: {}, identity)
    with pytest.raises(TypeError, match=r"init must return a pair \(params, state\): got a dict"):
        model.init(KEY, X)
    model = from_functions(lambda key, x: ({}, {"key": key}), identity)
    with pytest.raises(TypeError, match=r"without random keys .* at \[1\]\['key'\]"):
        model.init(KEY, X)
    model = from_functions(init, lambda params, state, x, *, train, key: (x, {"more": 1.0}))
    with pytest.raises(ValueError, match="apply must keep the structure of the state"):
        model.apply({}, {}, X, train=True, key=KEY)


def test_evaluation_of_functions_cannot_move_the_state():
    model = from_functions(
        lambda key, x: ({}, {"calls": 0}),
        lambda params, state, x, *, train, key: (x, {"calls": state["calls"] + 1}),
    )
    params, state = model.init(KEY, X)
    assert state["calls"].dtype == jnp.int32
    assert model.apply(params, state, X, train=False, key=None)[1]["calls"] == 0
    assert model.apply(params, state, X, train=True, key=KEY)[1]["calls"] == 1


def test_as_model():
    model = from_functions(lambda key, x: ({}, {}), identity)
    assert as_model(model) is model
    adapted = as_model(MLP((5, 3), (0.5, 0.5)))
    assert isinstance(adapted, Model)
    assert adapted.description == "MLP(features=(5, 3), kernel_scales=(0.5, 0.5))"
    assert as_model(nn.Dense(3, kernel_init=nn.initializers.ones)).description == (
        "Dense(features=3, kernel_init=ones)"
    )
    for other in (Nnx(0.0, nnx.Rngs(0)), len, "mlp"):
        with pytest.raises(TypeError, match=r"adapt it with gainjax\.models\.from_nnx"):
            as_model(other)


def test_modules_in_place_of_what_makes_them_are_refused():
    with pytest.raises(TypeError, match="`lambda rngs: Net"):
        from_nnx(Nnx(0.0, nnx.Rngs(0)))
    with pytest.raises(TypeError, match=r"must be a flax\.linen\.Module"):
        from_linen(Linen)
    eqx = pytest.importorskip("equinox")
    with pytest.raises(TypeError, match="`lambda key: Net"):
        from_equinox(eqx.nn.Linear(2, 3, key=KEY))


def test_models_differ_though_made_alike():
    models = [from_linen(GainDense(HIDDEN)) for _ in range(2)]
    assert models[0] != models[1]
    assert len(set(models)) == 2
