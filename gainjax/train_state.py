"""Flax's train state for optimizers that need more than gradients."""

import dataclasses
import functools
from typing import Any, Self

import optax
from flax.training import train_state

from gainjax.optim.extra_args import takes_extra_args
from gainjax.optim.states import find_gain_states


class TrainState(train_state.TrainState):
    """``flax.training.train_state.TrainState`` that passes extra arguments to the optimizer.

    Subclass it to carry more state, such as batch statistics, as you would Flax's class.

    Example:
        >>> import jax.numpy as jnp
        >>> from gainjax import get_gain, ngm_sgd
        >>> state = TrainState.create(apply_fn=None, params={"w": jnp.eye(2)}, tx=ngm_sgd(0.01))
        >>> state = state.apply_gradients(grads={"w": jnp.eye(2)}, uncertainty=2.3)
        >>> print(state.step, get_gain(state.opt_state).round(2))
        1 1.92

    References:
        Flax's class, whose ``apply_gradients`` cannot pass extra arguments.
    """

    @classmethod
    def create(cls, **kwargs: Any) -> Self:
        """Return a new state, as Flax's ``create(*, apply_fn, params, tx, ...)`` does.

        Args:
            **kwargs: The fields, as for Flax's class.

        Raises:
            ValueError: If a gain modulation in ``tx`` is not the last transformation.
        """
        state = super().create(**kwargs)
        find_gain_states(state.opt_state)
        return state

    def apply_gradients(self, *, grads: Any, **kwargs: Any) -> Self:
        """Return the state after one update.

        Args:
            grads: Gradients, in the structure of ``params``.
            **kwargs: Fields of the state are replaced (``batch_stats=...``); all others are passed
                to the optimizer (``uncertainty=...``, ``value=...``, ``grad_fn=...``).

        Raises:
            TypeError: If there are others and the optimizer takes no extra arguments. (An optimizer
                that does take them ignores those it does not know.)
        """
        fields = {field.name for field in dataclasses.fields(self)}
        extra = {name: value for name, value in kwargs.items() if name not in fields}
        takes_extra = takes_extra_args(self.tx)
        if extra and not takes_extra:
            raise TypeError(
                f"{', '.join(sorted(extra))}: neither a field of {type(self).__name__} "
                f"({', '.join(sorted(fields))}) nor an argument of the optimizer, which takes only "
                "gradients: wrap it with gainjax.gain_modulation(...), or correct the name"
            )
        replaced = {name: value for name, value in kwargs.items() if name in fields}
        # Flax's own update, with the extra arguments bound.
        bound = optax.GradientTransformation(
            self.tx.init, functools.partial(self.tx.update, **extra)
        )
        state = train_state.TrainState.apply_gradients(
            self.replace(tx=bound), grads=grads, **replaced
        )
        return state.replace(tx=kwargs.get("tx", self.tx))
