"""Methods that use class means of features: to initialize heads, or to replace them."""

import dataclasses
from typing import Any

import optax
from jax.typing import ArrayLike

from gainjax.methods.gains import ENTRIES as GAINS
from gainjax.methods.method import NOT_NEGATIVE, UNIT, Method
from gainjax.methods.plain import ENTRIES as PLAIN
from gainjax.methods.plain import msgd
from gainjax.optim import class_means


def _initialized(
    mask: Any, learning_rate: ArrayLike = 0.01, momentum: ArrayLike = 0.9, scale: ArrayLike = 1.0
) -> optax.GradientTransformation:
    return class_means.initialized_by_means(msgd(learning_rate, momentum), scale, mask)


def _read(
    optimizer: optax.GradientTransformation, mask: Any, mean_decay: ArrayLike = 0.9
) -> optax.GradientTransformation:
    return class_means.read_by_means(optimizer, mean_decay, mask)


def read_by_nearest_mean(method: Method) -> Method:
    r"""Return a method with the same training, evaluated by the nearest class mean of features.

    .. math:: \hat y(x) = \arg\max_c \bar m_c^\top h(x) / \|\bar m_c\|

    A gap that remains is one of the features, and not of the head.

    Args:
        method: The method. Its network needs a linear head that a gain may multiply; see
            :func:`gainjax.optim.class_means.read_by_means`.

    Returns:
        A method with "-ncm" appended to the name and the hyperparameter ``mean_decay``.

    Raises:
        TypeError: If it is not a method.
        ValueError: If the method is not evaluated at its own weights.

    Example:
        >>> from gainjax import get_method
        >>> read_by_nearest_mean(get_method("adam")).hyperparameters["mean_decay"]
        0.9

    References:
        Nearest class mean: Mensink et al. 2013; iCaRL, Rebuffi et al. 2017. The angle instead of
        the distance, and moving averages of batches as means, are ours.
    """
    if not isinstance(method, Method):
        raise TypeError(
            f"method must be a gainjax.Method, as get_method returns it: got {method!r}"
        )
    if not method.evaluates_trained or method.wrap is not None:
        raise ValueError(f"method must be evaluated at its own weights: {method.name} is not")
    return dataclasses.replace(
        method,
        name=f"{method.name}-ncm",
        summary=f"{method.title or method.name}, evaluated by the nearest class mean of features",
        source="Mensink et al. 2013; iCaRL, Rebuffi et al. 2017",
        title=None,
        wrap=_read,
        eval_params=class_means.get_nearest_mean,
        ranges={**method.ranges, "mean_decay": UNIT},
    )


_BASES = {method.name: method for method in (*PLAIN, *GAINS)}
ENTRIES = (
    Method(
        "class-mean-init",
        _initialized,
        "momentum SGD, outputs of new classes start at their class means (an oracle)",
        "SGM, Harun et al., arXiv 2306.01904",
        ranges={"scale": NOT_NEGATIVE},
        needs_boundary=True,
    ),
    read_by_nearest_mean(_BASES["msgd"]),
    read_by_nearest_mean(_BASES["ngm-sgd"]),
)
