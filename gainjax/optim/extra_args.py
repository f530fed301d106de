"""Extra arguments of an update: forwarded, translated to raw weights, or used for a new gradient.

Line searches and SAM evaluate functions of the parameters themselves. The caller has the effective
weights, gain times raw weights; the base optimizer knows nothing of the gain.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

Scale = Callable[[Any, jax.Array], Any]


def takes_extra_args(optimizer: optax.GradientTransformation) -> bool:
    """Tell whether an optimizer takes extra arguments, even if its type does not say so.

    ``optax.MultiSteps`` takes them without being a ``GradientTransformationExtraArgs``.

    Args:
        optimizer: The optimizer.
    """
    if isinstance(optimizer, optax.GradientTransformationExtraArgs):
        return True
    parameters = inspect.signature(optimizer.update).parameters.values()
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def with_extra_args(
    base: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer that accepts any extra argument and forwards those that ``base`` takes.

    :func:`optax.with_extra_args_support` drops them for an optimizer that takes them without being
    an ``optax.GradientTransformationExtraArgs``, such as ``optax.MultiSteps``; so do combinators
    of Optax, inside of which such an optimizer needs this function. It forwards all of them to one
    that takes ``grad_fn`` only, as :func:`optax.contrib.sam`.

    Args:
        base: The optimizer.

    Example:
        >>> from gainjax import ngm_sgd
        >>> optimizer = with_extra_args(optax.MultiSteps(ngm_sgd(0.1), 2))
        >>> params = {"w": jax.numpy.ones((1, 1))}
        >>> state = optimizer.init(params)
        >>> _, state = optimizer.update(params, state, params, uncertainty=0.5, unknown=True)
        >>> print(state.mini_step)
        1
    """
    try:
        parameters = inspect.signature(base.update).parameters.values()
    except (TypeError, ValueError):  # without a signature, it is called as its type says
        return optax.with_extra_args_support(base)
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return optax.GradientTransformationExtraArgs(base.init, base.update)
    names = {p.name for p in parameters}

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        known = {name: value for name, value in extra_args.items() if name in names}
        return base.update(updates, state, params, **known)

    return optax.GradientTransformationExtraArgs(base.init, update)


def with_gradient(
    base: optax.GradientTransformation,
    gradient: Callable[[optax.Updates, optax.Params | None, dict[str, Any]], optax.Updates],
    needs: str,
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer that replaces the gradient it is given.

    Args:
        base: The optimizer.
        gradient: ``gradient(grads, params, extra_args)``, the replacement.
        needs: Name of the required extra argument.

    Raises:
        TypeError: If ``update`` is called without that argument.

    Example:
        >>> other = with_gradient(optax.sgd(1.0), lambda g, params, extra: -g * extra["by"], "by")
        >>> updates, _ = other.update(1.0, other.init(1.0), 1.0, by=3.0)
        >>> print(updates)
        3.0
    """
    base = with_extra_args(base)

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        if needs not in extra_args:
            raise TypeError(
                f"this optimizer needs the keyword `{needs}`: call update(grads, state, params, "
                f"{needs}=...)"
            )
        return base.update(gradient(updates, params, extra_args), state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(base.init, update)


def for_raw_weights(
    extra_args: Mapping[str, Any], scale: Scale, gain: jax.Array, updates: optax.Updates
) -> dict[str, Any]:
    """Return extra arguments with functions and gradients translated to raw weights.

    Args:
        extra_args: Extra arguments of an update. ``grad`` is a gradient; ``grad_fn`` and
            ``value_fn`` are functions of parameters; ``loss_grad`` returns a gradient. All others
            are kept.
        scale: ``scale(tree, factor)`` multiplies the modulated leaves of a parameter-like tree.
        gain: The gain.
        updates: The gradient of the update. Where it is masked, as in :func:`optax.partition`, the
            other gradients, which are whole, are masked likewise.

    Raises:
        ValueError: If another gradient is not nested like it.
    """
    translated = dict(extra_args)
    if extra_args.get("grad") is not None:
        translated["grad"] = scale(_masked_as(updates, extra_args["grad"]), gain)
    if (grad_fn := extra_args.get("grad_fn")) is not None:
        translated["grad_fn"] = lambda raw, *args, **kwargs: scale(
            grad_fn(scale(raw, gain), *args, **kwargs), gain
        )
    if (loss_grad := extra_args.get("loss_grad")) is not None:
        translated["loss_grad"] = lambda loss: scale(_masked_as(updates, loss_grad(loss)), gain)
    if (value_fn := extra_args.get("value_fn")) is not None:
        translated["value_fn"] = _value_of_raw_weights(value_fn, scale, gain)
    return translated


def _masked_as(masked: Any, tree: Any) -> Any:
    def is_masked(node: Any) -> bool:
        return isinstance(node, optax.MaskedNode)

    found = jax.tree.map(
        lambda at, here: at if is_masked(at) else here, masked, tree, is_leaf=is_masked
    )
    given, wanted = (str(jax.tree.structure(nested)) for nested in (found, masked))
    if given != wanted:
        raise ValueError(
            f"grad and loss_grad must be nested like the gradients, {wanted}: got {given}. "
            "optax.flatten changes the latter: put it inside, gain_modulation(optax.flatten(...))"
        )
    return found


def _value_of_raw_weights(
    value_fn: Callable[..., Any], scale: Scale, gain: jax.Array
) -> Callable[..., Any]:
    signature = inspect.signature(value_fn)
    takes_it = "uncertainty" in signature.parameters

    def value(raw: Any, *args: Any, uncertainty: Any = None, **kwargs: Any) -> Any:
        more = {"uncertainty": uncertainty} if takes_it else {}
        return value_fn(scale(raw, gain), *args, **kwargs, **more)

    # Line searches pass on the arguments that the signature names, and refuse any others.
    if not takes_it:
        name = inspect.Parameter("uncertainty", inspect.Parameter.KEYWORD_ONLY)
        *first, last = [*signature.parameters.values(), name]
        if first and first[-1].kind is inspect.Parameter.VAR_KEYWORD:
            first, last = [*first[:-1], last], first[-1]
        signature = signature.replace(parameters=[*first, last])
    value.__signature__ = signature  # type: ignore[attr-defined]
    return value
