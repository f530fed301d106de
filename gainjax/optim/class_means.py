r"""Class means of the features under a linear head, to initialize its outputs or to classify by.

The features need not be exposed by the model. The mean of output c over the examples of class c is
linear in column c of the head's kernel W, and its gradient is the mean feature of that class:

.. math:: \nabla_{W_c} \frac{1}{B_c} \sum_{n: y_n = c} W_c^\top h(x_n) = m_c

so the extra argument ``loss_grad`` of the training step
(:func:`gainjax.training.step.train_step`) yields all class means of the batch in one call.
"""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from gainjax.optim.extra_args import with_extra_args
from gainjax.optim.losses import LossGrad, OfEach, of_outputs
from gainjax.optim.masks import Mask, marks_of
from gainjax.optim.nested import the_state

_HOLE = optax.MaskedNode()


def mark_head(mask: Mask, params: Any) -> Any:
    """Mark the kernel of the head: the last modulated parameter with two axes.

    Args:
        mask: Which parameters a gain multiplies, as for :func:`gainjax.gain_modulation`.
        params: The parameters.

    Returns:
        Booleans with the structure of ``params``, exactly one of them True.

    Raises:
        ValueError: If there is no such parameter, or it cannot be told from another kernel with as
            many outputs, or from one that is transposed.

    Example:
        >>> params = {"layer_0": jnp.ones((4, 3)), "layer_1": jnp.ones((3, 2))}
        >>> mark_head(None, params)
        {'layer_0': False, 'layer_1': True}
    """
    leaves, structure = cast(Any, jax.tree.flatten(params))
    marks = jax.tree.leaves(marks_of(mask, params))
    kernels = [i for i, on in enumerate(marks) if on and jnp.ndim(leaves[i]) == 2]
    if leaves and not kernels:  # without leaves, these are placeholders of Optax
        raise ValueError(
            "class means need a head: a kernel with two axes, (features, outputs), among the "
            f"parameters that a gain multiplies; got {jax.tree.map(jnp.shape, params)}"
        )
    shapes = [jnp.shape(leaves[i]) for i in kernels]
    # Names are in alphabetical order, so the last one of equal ones need not be the head.
    if shapes and (shapes[-1][-1] in (shapes[-1][0], *(shape[-1] for shape in shapes[:-1]))):
        raise ValueError(
            "class means need a head that can be told apart from other kernels: the last one, of "
            f"shape {shapes[-1]}, is square, or another one has as many outputs; got {shapes}. "
            "Give the model a mask that marks the head alone, or change the number of hidden units"
        )
    return structure.unflatten([i == kernels[-1] for i in range(len(leaves))])


def class_means(loss_grad: LossGrad, head: Any) -> Float[Array, "features outputs"]:
    """Return the mean feature of each class of the batch, in the head's shape (D, outputs).

    Args:
        loss_grad: Extra argument of the training step.
        head: The mark of the kernel, from :func:`mark_head`.

    Returns:
        One mean per column; zeros for a class that is not in the batch. (A class whose features are
        all zero cannot be told from an absent one, and counts as absent.)

    Raises:
        ValueError: If targets are not classes, or the marked kernel does not produce the outputs.

    Example:
        >>> features, targets = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1, 1])
        >>> means = class_means(
        ...     lambda loss: jax.grad(lambda w: loss(features @ w, targets, None))(
        ...         jnp.ones((2, 2))
        ...     ),
        ...     True,
        ... )
        >>> print(means)
        [[0. 2.]
         [0. 3.]]
    """
    outputs_seen = []

    def mean_outputs(outputs: jax.Array, targets: jax.Array, of_each: OfEach) -> jax.Array:
        del of_each
        if not jnp.issubdtype(targets.dtype, jnp.integer) or targets.ndim != 1:
            raise ValueError(
                "class means need class targets, integers of shape (B,): got "
                f"{targets.dtype} of shape {targets.shape}"
            )
        outputs_seen.append(outputs.shape[-1])
        own = jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype)
        return (outputs * own / jnp.maximum(own.sum(0), 1)).sum()

    means = _marked(head, loss_grad(mean_outputs))
    if outputs_seen and outputs_seen[0] != means.shape[-1]:
        raise ValueError(
            f"the last modulated kernel, of shape {means.shape}, must be the head that produces "
            f"the {outputs_seen[0]} outputs: give the model a mask that ends with its head"
        )
    return means


class InitializedState(NamedTuple):
    """State of :func:`initialized_by_means`."""

    known: Bool[Array, "outputs"]  # outputs whose class has been seen
    base_state: optax.OptState


def initialized_by_means(
    base: optax.GradientTransformation, scale: ArrayLike, mask: Mask = None
) -> optax.GradientTransformationExtraArgs:
    r"""Initialize the outputs of new classes with class means, at known switches (an oracle).

    .. math:: W_c \leftarrow s\, \bar w\, m_c / \|m_c\|

    where :math:`\bar w` is the mean norm of the columns of known classes. The means are those of
    the first batch after the switch: a class that it lacks keeps its column. The new columns
    receive no other step in that update.

    Args:
        base: The optimizer.
        scale: Norm of a new column relative to the mean norm of known ones, :math:`s` >= 0.
        mask: The parameters that a gain multiplies; the last kernel among them is the head.

    Returns:
        A transformation that needs the parameters and the keywords ``loss_grad``,
        ``seen_classes`` and ``is_switch``.

    Raises:
        ValueError: If there is no head, or it has fewer outputs than there are classes.

    Example:
        >>> optimizer = initialized_by_means(optax.sgd(0.1), scale=1.0)
        >>> optimizer.init({"w": jnp.ones((4, 3))}).known
        Array([False, False, False], dtype=bool)

    References:
        The initialization alone of SGM, Harun et al., arXiv 2306.01904. SGM takes the means of all
        new images; the norm relative to known classes is ours.
    """
    base = with_extra_args(base)

    def init_fn(params: optax.Params) -> InitializedState:
        heads = jax.tree.leaves(params)
        outputs = _marked(mark_head(mask, params), params).shape[-1] if heads else 0
        return InitializedState(jnp.zeros(outputs, bool), base.init(params))

    def update_fn(
        updates: optax.Updates,
        state: InitializedState,
        params: optax.Params | None = None,
        *,
        loss_grad: LossGrad,
        seen_classes: Bool[Array, "classes"],
        is_switch: ArrayLike,
        **extra_args: Any,
    ) -> tuple[optax.Updates, InitializedState]:
        head = mark_head(mask, params)
        kernel, means = jnp.asarray(_marked(head, params)), class_means(loss_grad, head)
        seen = of_outputs(seen_classes, kernel.shape[-1])
        updates, base_state = base.update(
            updates, state.base_state, params, loss_grad=loss_grad, seen_classes=seen_classes,
            is_switch=is_switch, **extra_args,
        )  # fmt: skip
        new = is_switch & seen & ~state.known & (means != 0).any(0)
        known = state.known.astype(kernel.dtype)
        norms = jnp.linalg.norm(kernel, axis=0)
        usual = (norms * known).sum() / jnp.maximum(known.sum(), 1)
        begun = (scale * usual * _unit(means)).astype(kernel.dtype)
        updates = jax.tree.map(
            lambda on, u: jnp.where(new, (begun - kernel).astype(u.dtype), u) if on else u,
            head,
            updates,
        )
        return updates, InitializedState(state.known | seen, base_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


class ReadByMeansState(NamedTuple):
    """State of :func:`read_by_means`."""

    means: optax.Params  # class means in place of the head's kernel, and nothing else
    base_state: optax.OptState


def read_by_means(
    base: optax.GradientTransformation, decay: ArrayLike, mask: Mask = None
) -> optax.GradientTransformationExtraArgs:
    r"""Track the class means of features, to classify by them instead of the head.

    .. math:: \bar m_c \leftarrow \delta \bar m_c + (1 - \delta) m_c

    in each update whose batch contains class c; the first mean is taken as it is. Training is that
    of ``base``, and the head is trained as usual.

    Args:
        base: The optimizer. Its updates are unchanged.
        decay: Decay :math:`\delta` of the means per update, in [0, 1).
        mask: The parameters that a gain multiplies; the last kernel among them is the head.

    Returns:
        A transformation that needs the parameters and the keyword ``loss_grad``;
        :func:`get_nearest_mean` returns the parameters to evaluate.

    Raises:
        ValueError: If there is no head.

    Example:
        >>> optimizer = read_by_means(optax.sgd(0.1), decay=0.9)
        >>> optimizer.init({"w": jnp.ones((1, 2))}).means
        {'w': Array([[0., 0.]], dtype=float32)}

    References:
        Nearest class mean: Mensink et al. 2013; in class-incremental learning, iCaRL, Rebuffi et
        al. 2017. A moving average in place of a pass over all images is ours.
    """
    base = with_extra_args(base)

    def init_fn(params: optax.Params) -> ReadByMeansState:
        head = mark_head(mask, params)
        means = jax.tree.map(lambda on, p: jnp.zeros_like(p) if on else _HOLE, head, params)
        return ReadByMeansState(means, base.init(params))

    def update_fn(
        updates: optax.Updates,
        state: ReadByMeansState,
        params: optax.Params | None = None,
        *,
        loss_grad: LossGrad,
        **extra_args: Any,
    ) -> tuple[optax.Updates, ReadByMeansState]:
        head = mark_head(mask, params)
        now = class_means(loss_grad, head)

        def follow(mean: jax.Array) -> jax.Array:
            known, here = (mean != 0).any(0), (now != 0).any(0)
            moved = jnp.where(known, decay * mean + (1 - decay) * now, now)
            return jnp.where(here, moved, mean).astype(mean.dtype)

        means = jax.tree.map(follow, state.means)
        updates, base_state = base.update(
            updates, state.base_state, params, loss_grad=loss_grad, **extra_args
        )
        return updates, ReadByMeansState(means, base_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def get_nearest_mean(params: optax.Params, opt_state: optax.OptState) -> optax.Params:
    r"""Return parameters whose head classifies by the nearest class mean, in angle.

    .. math:: W_c = \bar m_c / \|\bar m_c\|, \qquad b = 0

    The largest output belongs to the class whose mean has the smallest angle to the feature. The
    usual rule, smallest Euclidean distance, would need a bias of :math:`-\|\bar m_c\|^2 / 2`, which
    not every head has.

    Args:
        params: The trained parameters.
        opt_state: State of an optimizer that contains one :func:`read_by_means`, at any depth.

    Raises:
        ValueError: If the state holds none, or more than one.

    Example:
        >>> state = ReadByMeansState({"w": jnp.array([[3.0, 0.0], [4.0, 0.0]])}, ())
        >>> print(get_nearest_mean({"w": jnp.ones((2, 2))}, state)["w"])
        [[0.6 0. ]
         [0.8 0. ]]
    """
    leaves, structure = cast(Any, jax.tree_util.tree_flatten_with_path(params))
    state = the_state(opt_state, ReadByMeansState, "read_by_means")
    means = structure.flatten_up_to(state.means)
    ((layer, size),) = (
        (path[:-1], leaf.shape[-1:])
        for (path, leaf), m in zip(leaves, means, strict=True)
        if not _is_hole(m)
    )

    def evaluated(path: Any, leaf: jax.Array, mean: Any) -> jax.Array:
        if not _is_hole(mean):
            return _unit(mean)
        # Without nesting all parameters seem to be of one layer; only the head has this size.
        return jnp.zeros_like(leaf) if path[:-1] == layer and leaf.shape == size else leaf

    return structure.unflatten(
        [evaluated(path, leaf, mean) for (path, leaf), mean in zip(leaves, means, strict=True)]
    )


def _is_hole(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _marked(head: Any, tree: Any) -> jax.Array:
    """Return the marked leaf of a tree."""
    (leaf,) = (leaf for on, leaf in zip(*map(jax.tree.leaves, (head, tree)), strict=True) if on)
    return leaf


def _unit(means: Float[Array, "features outputs"]) -> Float[Array, "features outputs"]:
    """Return the columns scaled to norm 1; zeros stay."""
    norms = jnp.linalg.norm(means, axis=0, keepdims=True)
    return jnp.where(norms > 0, means / jnp.where(norms > 0, norms, 1), 0).astype(means.dtype)
