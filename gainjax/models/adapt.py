"""Models as users give them."""

import sys
from typing import Any

from gainjax.models.model import Model


def as_model(model: Any) -> Model:
    """Return a :class:`Model` unchanged, or adapt a Linen module.

    Args:
        model: A :class:`Model` or a ``flax.linen.Module``.

    Raises:
        TypeError: If it is anything else. The message names the adapter to use.

    Example:
        >>> import flax.linen as nn
        >>> as_model(nn.Dense(3)).description
        'Dense(features=3)'
    """
    if isinstance(model, Model):
        return model
    linen = sys.modules.get("flax.linen")  # imported if there is a Linen module
    if linen is not None and isinstance(model, linen.Module):
        from gainjax.models.linen import from_linen

        return from_linen(model)
    raise TypeError(
        "model must be a gainjax.models.Model or a flax.linen.Module: adapt it with "
        "gainjax.models.from_nnx(lambda rngs: Net(rngs)), from_equinox(lambda key: Net(key)) or "
        f"from_functions(init, apply); got a {type(model).__name__}"
    )
