"""Recipes for images: existing networks and optimizers, each in the idiom of its library.

Networks, rates and batch sizes are those of the libraries' own examples as far as they fit into a
few hundred updates on a CPU. A recipe is built with a wrapper of its optimizer, and trains one seed
when it is called.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import gainjax
from gainjax import TrainState

Wrap = Callable[[optax.GradientTransformation], optax.GradientTransformationExtraArgs]
_LAST = 50  # updates whose mean loss is reported


class Result(NamedTuple):
    """The result of one run."""

    train_loss: float  # mean of the last updates, nats; for a policy, see there
    test_loss: float  # nats
    score: float  # test accuracy in %, or return per episode


class Images(NamedTuple):
    """Images as a network takes them, shape (N, H, W, C), and their classes, shape (N,)."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    updates: int = 300

    def batches(self, seed: int, size: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield random batches, the same for all rules."""
        rng = np.random.default_rng(seed)
        for _ in range(self.updates):
            chosen = rng.integers(0, len(self.x), size)
            yield self.x[chosen], self.y[chosen]


def load(folder: Path, name: str) -> Images:
    """Read ``NAME.npz`` (Keras array names); MNIST in [0, 1], CIFAR normalized."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        x, y, x_test, y_test = (file[k] for k in ("x_train", "y_train", "x_test", "y_test"))

    def prepare(images: np.ndarray) -> np.ndarray:
        images = images.reshape(*images.shape[:3], -1).astype(np.float32) / 255
        return images if images.shape[-1] == 1 else (images - 0.47) / 0.25

    few = np.random.default_rng(0).permutation(len(x))[:20_000]
    labels = (y[few], y_test[:2000])
    y, y_test = (part.reshape(-1).astype(np.int32) for part in labels)
    return Images(prepare(x[few]), y, prepare(x_test[:2000]), y_test)


def cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Return the mean cross-entropy of logits, shape (N, C), for classes, shape (N,)."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def summary(losses: list[jax.Array], logits: jax.Array, y: np.ndarray) -> Result:
    """Return the result of a classifier's run."""
    accuracy = 100 * jnp.mean((jnp.argmax(logits, -1) == y) & jnp.isfinite(logits).all(-1))
    train_loss = float(np.mean([float(loss) for loss in losses[-_LAST:]]))
    return Result(train_loss, float(cross_entropy(logits, y)), float(accuracy))


def flax_nnx(
    base: optax.GradientTransformation, data: Images, wrap: Wrap
) -> Callable[[int], Result]:
    """The MNIST example of Flax NNX: two convolutions, two dense layers, batches of 32."""

    class CNN(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.conv1 = nnx.Conv(1, 32, kernel_size=(3, 3), rngs=rngs)
            self.conv2 = nnx.Conv(32, 64, kernel_size=(3, 3), rngs=rngs)
            self.linear1 = nnx.Linear(3136, 256, rngs=rngs)
            self.linear2 = nnx.Linear(256, 10, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            x = nnx.avg_pool(nnx.relu(self.conv1(x)), window_shape=(2, 2), strides=(2, 2))
            x = nnx.avg_pool(nnx.relu(self.conv2(x)), window_shape=(2, 2), strides=(2, 2))
            x = nnx.relu(self.linear1(x.reshape(x.shape[0], -1)))
            return self.linear2(x)

    tx = wrap(base)

    @nnx.jit
    def train_step(model: CNN, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array) -> jax.Array:
        def loss_fn(model: CNN) -> tuple[jax.Array, jax.Array]:
            logits = model(x)
            return cross_entropy(logits, y), logits

        (loss, logits), grads = nnx.value_and_grad(loss_fn, has_aux=True)(model)
        optimizer.update(model, grads, uncertainty=gainjax.predictive_entropy(logits))
        return loss

    def run(seed: int) -> Result:
        model = CNN(nnx.Rngs(seed))
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        losses = [train_step(model, optimizer, x, y) for x, y in data.batches(seed, 32)]
        return summary(losses, nnx.jit(lambda m, x: m(x))(model, data.x_test), data.y_test)

    return run


def equinox(
    base: optax.GradientTransformation, data: Images, wrap: Wrap
) -> Callable[[int], Result]:
    """The MNIST example of Equinox: a convolution, three dense layers, batches of 64."""

    def network(key: jax.Array) -> eqx.nn.Sequential:
        keys = jax.random.split(key, 4)
        layers = [
            eqx.nn.Conv2d(1, 3, kernel_size=4, key=keys[0]),
            eqx.nn.MaxPool2d(kernel_size=2),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(1728, 512, key=keys[1]),
            eqx.nn.Lambda(jax.nn.sigmoid),
            eqx.nn.Linear(512, 64, key=keys[2]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Linear(64, 10, key=keys[3]),
        ]
        return eqx.nn.Sequential(layers)

    tx = wrap(base)

    def logits_of(model: eqx.nn.Sequential, x: jax.Array) -> jax.Array:
        return jax.vmap(model)(jnp.moveaxis(x, -1, 1))

    @eqx.filter_jit
    def make_step(model: Any, opt_state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, ...]:
        def loss_fn(model: Any) -> tuple[jax.Array, jax.Array]:
            logits = logits_of(model, x)
            return cross_entropy(logits, y), logits

        (loss, logits), grads = eqx.filter_value_and_grad(loss_fn, has_aux=True)(model)
        params = eqx.filter(model, eqx.is_array)
        updates, opt_state = tx.update(
            grads, opt_state, params, uncertainty=gainjax.predictive_entropy(logits)
        )
        return eqx.apply_updates(model, updates), opt_state, loss

    def run(seed: int) -> Result:
        model, losses = network(jax.random.key(seed)), []
        opt_state = tx.init(eqx.filter(model, eqx.is_array))
        for x, y in data.batches(seed, 64):
            model, opt_state, loss = make_step(model, opt_state, x, y)
            losses.append(loss)
        return summary(losses, eqx.filter_jit(logits_of)(model, data.x_test), data.y_test)

    return run


class _Block(nn.Module):
    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def norm() -> nn.BatchNorm:
            return nn.BatchNorm(use_running_average=not train, momentum=0.9)

        y = nn.Conv(self.features, (3, 3), self.stride, use_bias=False)(x)
        y = nn.Conv(self.features, (3, 3), use_bias=False)(nn.relu(norm()(y)))
        y = norm()(y)
        if x.shape != y.shape:
            x = norm()(nn.Conv(self.features, (1, 1), self.stride, use_bias=False)(x))
        return nn.relu(x + y)


class _ResNet(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Conv(8, (3, 3), 2, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        for features, stride in ((8, 1), (16, 2), (32, 2)):
            x = _Block(features, stride)(x, train)
        return nn.Dense(self.classes)(x.mean((1, 2)))


class _Transformer(nn.Module):
    """Reads the rows of an image in sequence; pre-norm, two blocks."""

    width: int = 32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        del train
        x = nn.Dense(self.width)(x[..., 0])
        x = x + self.param("pos_embed", nn.initializers.normal(0.1), x.shape[1:])
        for _ in range(2):
            x = x + nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x))
            y = nn.gelu(nn.Dense(2 * self.width)(nn.LayerNorm()(x)))
            x = x + nn.Dense(self.width)(y)
        return nn.Dense(10)(nn.LayerNorm()(x).mean(1))


class _WithStatistics(TrainState):
    batch_stats: Any


def flax_linen(
    base: optax.GradientTransformation, data: Images, wrap: Wrap, network: str = "resnet"
) -> Callable[[int], Result]:
    """Flax Linen with a ``TrainState``: a residual network with batch norm, or a transformer."""
    model = _Transformer() if network == "transformer" else _ResNet(int(data.y.max()) + 1)
    tx = wrap(base)

    @jax.jit
    def train_step(state: _WithStatistics, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
        def loss_fn(params: Any) -> tuple[jax.Array, Any]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            logits, new = model.apply(variables, x, train=True, mutable=["batch_stats"])
            return cross_entropy(logits, y), (logits, new)

        gradient = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (logits, new)), grads = gradient(state.params)
        state = state.apply_gradients(
            grads=grads,
            batch_stats=new.get("batch_stats", {}),
            uncertainty=gainjax.predictive_entropy(logits),
        )
        return state, loss

    @jax.jit
    def predict(state: _WithStatistics, x: jax.Array) -> jax.Array:
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        return model.apply(variables, x, train=False)

    def run(seed: int) -> Result:
        variables = model.init(jax.random.key(seed), data.x[:2], train=False)
        state = _WithStatistics.create(
            apply_fn=model.apply,
            params=variables["params"],
            tx=tx,
            batch_stats=variables.get("batch_stats", {}),
        )
        losses = []
        for x, y in data.batches(seed, 64):
            state, loss = train_step(state, x, y)
            losses.append(loss)
        return summary(losses, predict(state, data.x_test), data.y_test)

    return run


def haiku(base: optax.GradientTransformation, data: Images, wrap: Wrap) -> Callable[[int], Result]:
    """The MNIST example of Haiku: dense layers of 300 and 100 units, batches of 100."""
    network = hk.without_apply_rng(
        hk.transform(lambda x: hk.nets.MLP([300, 100, 10])(x.reshape(len(x), -1)))
    )
    tx = wrap(base)

    @jax.jit
    def update(params: Any, opt_state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, ...]:
        def loss_fn(params: Any) -> tuple[jax.Array, jax.Array]:
            logits = network.apply(params, x)
            return cross_entropy(logits, y), logits

        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, opt_state = tx.update(
            grads, opt_state, params, uncertainty=gainjax.predictive_entropy(logits)
        )
        return optax.apply_updates(params, updates), opt_state, loss

    def run(seed: int) -> Result:
        params, losses = network.init(jax.random.key(seed), data.x[:2]), []
        opt_state = tx.init(params)
        for x, y in data._replace(updates=2 * data.updates).batches(seed, 100):
            params, opt_state, loss = update(params, opt_state, x, y)
            losses.append(loss)
        return summary(losses, jax.jit(network.apply)(params, data.x_test), data.y_test)

    return run
