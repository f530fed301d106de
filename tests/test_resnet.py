"""The slim ResNet-18 against PyTorch's."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gainjax.gain import GainDynamics
from gainjax.models.resnet import BatchNorm, SlimResNet18

pytestmark = pytest.mark.exhaustive

DYNAMICS = GainDynamics(sensitivity=0.3)
# Most of the time would be compilation.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def normal(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


# --- The network ----------------------------------------------------------------------------------


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
