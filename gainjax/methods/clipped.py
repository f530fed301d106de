"""Optimizers whose gradients or updates are clipped."""

import optax
from jax.typing import ArrayLike

from gainjax.methods.method import POSITIVE, UNIT, Method
from gainjax.methods.plain import msgd
from gainjax.optim import clipping


def _by_norm(
    learning_rate: ArrayLike = 0.01, momentum: ArrayLike = 0.9, max_norm: ArrayLike = 1.0
) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(max_norm), msgd(learning_rate, momentum))


def _adaptive(
    learning_rate: ArrayLike = 0.01, momentum: ArrayLike = 0.9, clipping: ArrayLike = 0.01
) -> optax.GradientTransformation:
    return optax.chain(optax.adaptive_grad_clip(clipping), msgd(learning_rate, momentum))


def _running(
    learning_rate: ArrayLike = 0.01,
    momentum: ArrayLike = 0.9,
    factor: ArrayLike = 1.05,
    smoothing: ArrayLike = 0.98,
) -> optax.GradientTransformation:
    clip = clipping.clip_by_running_norm(factor, smoothing)
    return optax.chain(clip, msgd(learning_rate, momentum))


def _z_score(
    learning_rate: ArrayLike = 0.01,
    momentum: ArrayLike = 0.9,
    threshold: ArrayLike = 2.5,
    smoothing: ArrayLike = 0.97,
) -> optax.GradientTransformation:
    clip = clipping.clip_by_z_score(threshold, smoothing)
    return optax.chain(clip, msgd(learning_rate, momentum))


def _update_rms(
    learning_rate: ArrayLike = 0.01,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    max_rms: ArrayLike = 1.0,
) -> optax.GradientTransformation:
    return optax.chain(
        optax.scale_by_adam(b1=b1, b2=b2),
        optax.clip_by_block_rms(max_rms),
        optax.scale_by_learning_rate(learning_rate),
    )


ENTRIES = (
    Method(
        "clip-norm",
        _by_norm,
        "momentum SGD with the gradient's global norm clipped",
        "Pascanu et al., arXiv 1211.5063",
        ranges={"max_norm": POSITIVE},
    ),
    Method(
        "agc",
        _adaptive,
        "momentum SGD, gradients clipped to a fraction of the weights' norms",
        "Brock et al., arXiv 2102.06171",
        ranges={"clipping": POSITIVE},
    ),
    Method(
        "adagc",
        _running,
        "momentum SGD, gradients clipped to a multiple of their running norms",
        "AdaGC, arXiv 2502.11034",
        ranges={"factor": POSITIVE, "smoothing": UNIT},
    ),
    Method(
        "zclip",
        _z_score,
        "momentum SGD, gradients of unusually large norm shortened",
        "ZClip, arXiv 2504.02507",
        ranges={"threshold": POSITIVE, "smoothing": UNIT},
    ),
    Method(
        "adam-rms-clip",
        _update_rms,
        "Adam with the root mean square of each update clipped",
        "Shazeer & Stern, arXiv 1804.04235",
        ranges={"max_rms": POSITIVE},
    ),
)
