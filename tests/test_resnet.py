"""The convolution against XLA's own, the slim ResNet-18 against PyTorch's, and its gains."""

import functools
import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from gainjax.gain import GainDynamics
from gainjax.models import conv, from_linen
from gainjax.models.conv import conv2d
from gainjax.models.layers import modulated_mask
from gainjax.models.resnet import BatchNorm, Conv, GainBatchNorm, SlimResNet18
from gainjax.optim.modulation import gain_modulation
from gainjax.training.goal import Goal, accuracy, cross_entropy, predictive_entropy
from gainjax.training.step import Batch, TrainState, train_step

pytestmark = pytest.mark.exhaustive

GOAL = Goal(cross_entropy, accuracy, predictive_entropy)
DYNAMICS = GainDynamics(sensitivity=0.3)
# Most of the time would be compilation.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def normal(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


# --- Convolution ----------------------------------------------------------------------------------

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


# --- The network ----------------------------------------------------------------------------------


def make(image=8, batch=6, seed=0, **options):
    """Return a model, variables drawn by NumPy (quicker than compiling an initialization), data."""
    model = SlimResNet18(**({"width": 2} | options))
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.standard_normal((batch, image, image, 3)), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    params = jax.tree.map(
        lambda leaf: (
            rng.normal(size=leaf.shape, scale=0.3).astype(np.float32) + (leaf.ndim == 1)
        ),  # normalizations near one
        shapes["params"],
    )
    state = {
        "batch_stats": jax.tree.map(
            lambda leaf: rng.uniform(0.5, 2, leaf.shape).astype(np.float32), shapes["batch_stats"]
        )
    }
    if "gain" in shapes:
        state["gain"] = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes["gain"])
    return model, params, state, x


def parameters_by_hand(width, num_classes):
    conv_norm = lambda window, inputs, outputs: window**2 * inputs * outputs + 2 * outputs  # noqa: E731
    total = conv_norm(3, 3, width)
    inputs = width
    for stage in range(4):
        outputs = width * 2**stage
        total += conv_norm(3, inputs, outputs) + 3 * conv_norm(3, outputs, outputs)
        if stage > 0:
            total += conv_norm(1, inputs, outputs)
        inputs = outputs
    return total + inputs * num_classes


@pytest.mark.parametrize(("width", "num_classes"), [(20, 10), (20, 100), (8, 10)])
@pytest.mark.parametrize("modulate", ["head", "all", None])
def test_parameter_count(width, num_classes, modulate):
    gains = {} if modulate is None else {"dynamics": DYNAMICS, "modulate": modulate}
    model = SlimResNet18(num_classes, width, **gains)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert count == parameters_by_hand(width, num_classes)


def test_mini_imagenet_images_fit():
    model = SlimResNet18(50)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 84, 84, 3)))
    logits = jax.eval_shape(model.apply, variables, jnp.ones((5, 84, 84, 3)))
    assert logits.shape == (5, 50)


@pytest.fixture(scope="module")
def initial():
    """Variables of a plain and of a fully modulated network, from the same key."""
    models = SlimResNet18(), SlimResNet18(dynamics=DYNAMICS, modulate="all")
    images = jax.ShapeDtypeStruct((1, 4, 4, 3), jnp.float32)
    return [quick(lambda key, m=m: m.lazy_init(key, images))(jax.random.key(3)) for m in models]


def test_initial_values_are_pytorchs(initial):
    kernels = 0
    for name, layer in initial[0]["params"].items():
        if name.endswith("_norm"):
            assert np.all(layer["scale"] == 1)
            assert np.all(layer["bias"] == 0)
        elif name.endswith("_conv"):
            kernels += 1
            kernel = np.asarray(layer["kernel"])
            bound = 1 / math.sqrt(np.prod(kernel.shape[:3]))
            assert np.abs(kernel).max() <= bound
            assert np.abs(kernel).max() > 0.97 * bound
            # The variance of a uniform distribution, within five standard errors.
            error = 5 * math.sqrt(4 / 45 / kernel.size)
            assert np.mean((kernel / bound) ** 2) == pytest.approx(1 / 3, abs=error)
            assert np.mean(kernel / bound) == pytest.approx(0, abs=5 / math.sqrt(3 * kernel.size))
        else:
            assert name == "head"
            assert list(layer) == ["kernel"]
            assert np.std(layer["kernel"]) == pytest.approx(0.05, rel=5 / math.sqrt(2 * 1600))
    assert kernels == 20
    for statistics in initial[0]["batch_stats"].values():
        assert np.all(statistics["mean"] == 0)
        assert np.all(statistics["var"] == 1)


def test_modulated_and_plain_network_start_alike(initial):
    plain, modulated = initial
    assert "gain" not in plain
    assert len(modulated["gain"]) == 21  # behind 20 normalizations, and at the head
    jax.tree.map(np.testing.assert_array_equal, plain["params"], modulated["params"])


def test_modulation_is_checked():
    model = SlimResNet18(modulate="tail")
    with pytest.raises(ValueError, match="modulate must be 'head' or 'all': got 'tail'"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 4, 4, 3)))


def test_one_value_per_channel_cannot_be_normalized():
    with pytest.raises(ValueError, match="at least two values per channel"):
        BatchNorm().init(jax.random.key(0), jnp.ones((1, 1, 1, 3)), train=True)


def test_an_immutable_collection_is_left_alone():
    norm = BatchNorm()
    x = normal((4, 2, 2, 3))
    variables = norm.init(jax.random.key(0), x)
    assert norm.apply(variables, x, train=True).std() == pytest.approx(1, abs=1e-3)
    _, state = norm.apply(variables, x, train=False, mutable=["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, state["batch_stats"], variables["batch_stats"])


# --- Gain -----------------------------------------------------------------------------------------


def test_a_gain_in_front_of_a_normalization_would_do_nothing(x64):
    """The reason to place it behind: the raw kernel gets the same gradient at any gain."""

    class Unit(nn.Module):
        @nn.compact
        def __call__(self, x):
            return BatchNorm(name="norm")(Conv(4, name="conv")(x), train=True)

    x, unit = 10 * normal((5, 4, 4, 3)), Unit()
    target = normal((5, 4, 4, 4), 1)
    params = unit.init(jax.random.key(0), x)["params"]

    def loss(kernel, gain):
        variables = {"params": params | {"conv": {"kernel": gain * kernel}}}
        y, _ = unit.apply(variables, x, mutable=["batch_stats"])
        return jnp.mean((y - target) ** 2)

    raw = params["conv"]["kernel"]
    values = [quick(jax.value_and_grad(loss))(raw, gain) for gain in (1.0, 3.0)]
    np.testing.assert_allclose(values[0][0], values[1][0], rtol=1e-5)
    np.testing.assert_allclose(values[0][1], values[1][1], rtol=0, atol=1e-5)


def test_gain_multiplies_the_normalized_input_but_not_the_bias():
    x = normal((6, 2, 2, 3))
    params = {"scale": jnp.array([1.0, 2.0, 3.0]), "bias": jnp.array([0.5, 0.0, -1.0])}
    norm = GainBatchNorm(3, GainDynamics(baseline=2.0))
    variables = norm.init(jax.random.key(0), x) | {"params": params}
    y = norm.apply(variables, x, train=True)
    without = BatchNorm().apply(variables | {"params": params | {"bias": jnp.zeros(3)}}, x, True)
    np.testing.assert_allclose(y, 2 * without + params["bias"], rtol=0, atol=1e-6)


def test_gain_in_the_model_equals_gain_in_the_optimizer(x64):
    model, *variables = make(dynamics=DYNAMICS, modulate="all")
    params, state, x = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
    labels = jnp.arange(len(x)) % 10
    base = optax.with_extra_args_support(optax.sgd(0.05, momentum=0.9))
    mask = modulated_mask(params, state["gain"])
    assert sum(jax.tree.leaves(mask)) == 21  # the scale of 20 normalizations, the head's kernel
    wrapped = gain_modulation(base, sensitivity=DYNAMICS.sensitivity, mask=mask)

    def run(model, optimizer, model_state):
        def body(state, _):
            batch = Batch(x, labels, jax.random.key(0))
            return train_step(state, batch, from_linen(model), GOAL, optimizer)

        @quick
        def program(start):
            end, info = lax.scan(body, start, length=6)
            return end, info, model.apply({"params": end.params, **end.model_state}, x)

        return program(TrainState(params, model_state, optimizer.init(params)))

    end, *in_model = run(model, base, state)
    _, *in_optimizer = run(
        model.clone(dynamics=None), wrapped, {"batch_stats": state["batch_stats"]}
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-9), in_model, in_optimizer
    )
    gains = np.concatenate(jax.tree.leaves(end.model_state["gain"]))
    assert gains[0] > 1.2
    np.testing.assert_array_equal(gains, gains[0])  # one drive for all


# --- Training -------------------------------------------------------------------------------------


def test_seeds_together_train_like_each_alone():
    optimizer = optax.with_extra_args_support(optax.sgd(0.05, momentum=0.9))
    runs = [make(seed=seed, dynamics=DYNAMICS) for seed in (0, 1)]
    model = runs[0][0]

    def step(params, model_state, x):
        state = TrainState(params, model_state, optimizer.init(params))
        batch = Batch(x, jnp.arange(6), jax.random.key(0))
        return train_step(state, batch, from_linen(model), GOAL, optimizer)

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(run[1:] for run in runs))
    together = quick(jax.vmap(step))(*stacked)
    alone = quick(step)
    for seed, run in enumerate(runs):
        jax.tree.map(
            lambda a, b, seed=seed: np.testing.assert_allclose(a[seed], b, rtol=1e-4, atol=1e-5),
            together,
            alone(*run[1:]),
        )


# --- PyTorch --------------------------------------------------------------------------------------


def torch_network(torch, width, num_classes):
    class Block(torch.nn.Module):
        def __init__(self, inputs, features, stride):
            super().__init__()
            self.first_conv = torch.nn.Conv2d(inputs, features, 3, stride, 1, bias=False)
            self.first_norm = torch.nn.BatchNorm2d(features)
            self.second_conv = torch.nn.Conv2d(features, features, 3, 1, 1, bias=False)
            self.second_norm = torch.nn.BatchNorm2d(features)
            if stride != 1 or inputs != features:
                self.shortcut_conv = torch.nn.Conv2d(inputs, features, 1, stride, bias=False)
                self.shortcut_norm = torch.nn.BatchNorm2d(features)

        def forward(self, x):
            y = self.first_norm(self.first_conv(x)).relu()
            y = self.second_norm(self.second_conv(y))
            if hasattr(self, "shortcut_conv"):
                x = self.shortcut_norm(self.shortcut_conv(x))
            return (x + y).relu()

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem_conv = torch.nn.Conv2d(3, width, 3, 1, 1, bias=False)
            self.stem_norm = torch.nn.BatchNorm2d(width)
            inputs = width
            for stage in range(4):
                for block in range(2):
                    features = width * 2**stage
                    stride = 2 if stage > 0 and block == 0 else 1
                    self.add_module(f"stage_{stage}_block_{block}", Block(inputs, features, stride))
                    inputs = features
            self.head = torch.nn.Linear(inputs, num_classes, bias=False)

        def forward(self, x):
            x = self.stem_norm(self.stem_conv(x)).relu()
            for stage in range(4):
                for block in range(2):
                    x = getattr(self, f"stage_{stage}_block_{block}")(x)
            return self.head(x.mean((2, 3)))

    return Network()


def to_jax(tensors):
    """Return PyTorch's tensors by name as nested dicts of Flax's names and layouts."""
    kinds = {"running_mean": "mean", "running_var": "var"}
    tree = {}
    for name, tensor in tensors:
        *layers, kind = name.split(".")
        layer = "_".join(layers)
        if kind == "weight":
            kind = "scale" if layer.endswith("_norm") else "kernel"
        kind = kinds.get(kind, kind)
        array = tensor.detach().numpy()
        axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim]
        tree.setdefault(layer, {})[kind] = array.transpose(axes).copy()
    return tree


def statistics_of(network):
    return to_jax((n, b) for n, b in network.named_buffers() if "running" in n)


def test_pytorch_agrees():
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    network = torch_network(torch, 20, 10)
    with torch.no_grad():
        for parameter in network.parameters():  # leave the symmetric start: scales and biases too
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise, alpha=0.2 if parameter.ndim == 1 else 0.01)
    images = torch.randn((8, 3, 16, 16), generator=generator)
    labels = torch.arange(8)

    model = SlimResNet18()
    params = to_jax(network.named_parameters())
    statistics = statistics_of(network)
    x = images.permute(0, 2, 3, 1).numpy()
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes["params"])
    assert sum(p.numel() for p in network.parameters()) == parameters_by_hand(20, 10)

    @quick
    def train_and_evaluate(params, batch_stats):
        def loss_fn(params):
            logits, state = model.apply(
                {"params": params, "batch_stats": batch_stats}, x, True, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.arange(8))
            return losses.mean(), (logits, state["batch_stats"])

        gradients, (logits, batch_stats) = jax.grad(loss_fn, has_aux=True)(params)
        evaluated = model.apply({"params": params, "batch_stats": batch_stats}, x)
        return logits, gradients, batch_stats, evaluated

    logits, gradients, batch_stats, evaluated = train_and_evaluate(params, statistics)
    torch_logits = network(images)
    torch.nn.functional.cross_entropy(torch_logits, labels).backward()
    network.eval()
    with torch.no_grad():
        torch_evaluated = network(images)

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)

    close(logits, torch_logits.detach().numpy())
    close(evaluated, torch_evaluated.numpy())
    jax.tree.map(close, batch_stats, statistics_of(network))
    jax.tree.map(close, gradients, to_jax((n, p.grad) for n, p in network.named_parameters()))
