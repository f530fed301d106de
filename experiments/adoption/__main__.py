"""Does the gain harm existing recipes, and is it worth having there?

    python -m experiments.adoption --data DIR

``DIR`` holds ``mnist.npz``, ``cifar10.npz`` and ``cifar100.npz`` (Keras array names). Beside the
other results, it writes ``adoption-recipes.csv``, the results of recipes alone and under rules for
the gain, and ``adoption-switch.csv``, their stability gap at task switches. It takes half an hour
on two CPU cores. The tables are discussed in docs/adoption.md.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pandas as pd

from experiments.adoption import images
from experiments.adoption.policy import policy_gradient
from experiments.adoption.switch import stability_gap, streams
from gainjax import gain_modulation
from gainjax.optim.masks import default_mask

RESULTS = Path(__file__).parents[1] / "results"
PARTS = ("recipes", "switch")
PACKAGES = ("jax", "optax", "flax", "equinox", "dm-haiku")
MOMENTUM = partial(optax.sgd, momentum=0.9)

# Library and task, data, recipe, optimizer with its rate.
RECIPES: dict[str, tuple[str | None, Callable[..., Any], optax.GradientTransformation]] = {
    "NNX CNN, momentum .1": ("mnist", images.flax_nnx, MOMENTUM(0.1)),
    "NNX CNN, momentum .01": ("mnist", images.flax_nnx, MOMENTUM(0.01)),
    "NNX CNN, momentum .005": ("mnist", images.flax_nnx, MOMENTUM(0.005)),
    "NNX CNN, AdamW .005": ("mnist", images.flax_nnx, optax.adamw(0.005, 0.9)),
    "Equinox CNN, AdamW .0003": ("mnist", images.equinox, optax.adamw(3e-4)),
    "Equinox CNN, Adam .003": ("mnist", images.equinox, optax.adam(3e-3)),
    "Linen ResNet, momentum .1": ("cifar10", images.flax_linen, MOMENTUM(0.1)),
    "Linen ResNet, 100 classes, momentum .1": ("cifar100", images.flax_linen, MOMENTUM(0.1)),
    "Linen transformer, Adam .001": (
        "mnist",
        partial(images.flax_linen, network="transformer"),
        optax.adam(1e-3),
    ),
    "Haiku MLP, Adam .001": ("mnist", images.haiku, optax.adam(1e-3)),
    "Haiku MLP, RMSProp .001": ("mnist", images.haiku, optax.rmsprop(1e-3)),
    "Haiku MLP, SGD .1": ("mnist", images.haiku, optax.sgd(0.1)),
    "Haiku MLP, SGD .5": ("mnist", images.haiku, optax.sgd(0.5)),
    "CartPole, Adam .01": (None, policy_gradient, optax.adam(0.01)),
    "CartPole, SGD .3": (None, policy_gradient, optax.sgd(0.3)),
}
BASES = {
    "SGD .01": optax.sgd(0.01),
    "SGD .1": optax.sgd(0.1),
    "momentum .01": MOMENTUM(0.01),
    "Adam .001": optax.adam(1e-3),
    "Adam .003": optax.adam(3e-3),
    "RMSProp .001": optax.rmsprop(1e-3),
}


def _bounded(base: optax.GradientTransformation, output: float) -> Any:
    """Return the default rule with another bound on the combined gain of the layers."""

    def with_depth(params: Any) -> Any:
        layers = sum(jax.tree.leaves(default_mask(params)))
        top = output ** (1 / layers)
        return gain_modulation(base, sensitivity=0.1 * (top - 1), max_gain=top)

    return optax.GradientTransformationExtraArgs(
        lambda params: with_depth(params).init(params),
        lambda updates, state, params, **extra: with_depth(params).update(
            updates, state, params, **extra
        ),
    )


RULES: dict[str, images.Wrap] = {
    "alone": optax.with_extra_args_support,
    "default": gain_modulation,
    "output 4": partial(_bounded, output=4.0),
    "sensitivity .05": partial(gain_modulation, sensitivity=0.05),
    "max_gain 1.5": partial(gain_modulation, sensitivity=0.4, max_gain=1.5),
    "sensitivity .4": partial(gain_modulation, sensitivity=0.4),
    "sensitivity .4, all parameters": partial(gain_modulation, sensitivity=0.4, mask=True),
}
SWITCH_RULES = ("alone", "default", "output 4", "sensitivity .4")


def recipes(folder: Path, seeds: int, only: str) -> pd.DataFrame:
    """Run every recipe under every rule."""
    rows, loaded = [], {}
    for name, (data, make, base) in RECIPES.items():
        if only not in name:
            continue
        if data is not None and data not in loaded:
            loaded[data] = images.load(folder, data)
        for rule, wrap in RULES.items():
            start = time.perf_counter()
            run = make(base, loaded.get(data), wrap)
            results = np.array([run(seed) for seed in range(seeds)])
            row = dict(zip(images.Result._fields, results.mean(0), strict=True))
            row["score_min"], row["score_max"] = results[:, 2].min(), results[:, 2].max()
            rows.append({"recipe": name, "rule": rule, "seeds": seeds} | row)
            shown = ", ".join(f"{k} {v:.4g}" for k, v in row.items())
            print(f"{name} | {rule}: {shown}; {time.perf_counter() - start:.0f} s", flush=True)
            jax.clear_caches()
    return pd.DataFrame(rows)


def switches(folder: Path, seeds: int, only: str) -> pd.DataFrame:
    """Run every stream with every base optimizer, alone and with a gain; pair by seed."""
    rows = []
    for (name, stream), (base_name, base) in [
        (stream, base) for stream in streams(folder).items() for base in BASES.items()
    ]:
        if only not in f"{name} {base_name}":
            continue
        alone = None
        for rule in SWITCH_RULES:
            run = stability_gap(base, stream, RULES[rule])
            results = np.array([run(seed) for seed in range(seeds)])
            alone = results if alone is None else alone
            difference = results - alone
            error = difference.std(0, ddof=1) / np.sqrt(seeds)
            row = {"stream": name, "base": base_name, "rule": rule, "seeds": seeds}
            for i, what in enumerate(("gap", "anytime")):
                row |= {
                    what: results[:, i].mean(),
                    f"{what}_difference": difference[:, i].mean(),
                    f"{what}_error": error[i],
                }
            rows.append(row)
            shown = (f"{k} {v:.4g}" for k, v in row.items() if not isinstance(v, str))
            print(name, base_name, rule, *shown, flush=True)
            jax.clear_caches()
    return pd.DataFrame(rows)


def main(arguments: list[str] | None = None) -> None:
    """Write the tables.

    Args:
        arguments: The arguments of the command line, or None for those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m experiments.adoption")
    parser.add_argument("--data", type=Path, required=True, help="folder with .npz files")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each recipe")
    parser.add_argument("--switch-seeds", type=int, default=10, help="seeds of each stream")
    parser.add_argument("--only", default="", help="part of the names of the runs to include")
    parser.add_argument("--tables", nargs="+", choices=PARTS, default=PARTS, help="which")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where tables go")
    args = parser.parse_args(arguments)
    args.results.mkdir(parents=True, exist_ok=True)
    for table, make, seeds in (
        ("recipes", recipes, args.seeds),
        ("switch", switches, args.switch_seeds),
    ):
        if table not in args.tables:
            continue
        start = time.perf_counter()
        rows = make(args.data, seeds, args.only)
        text = rows.to_csv(index=False, float_format="%.4g", lineterminator="\n")
        made_with = {
            "training_seconds": round(time.perf_counter() - start),
            "cpus": os.cpu_count(),
            "seeds": seeds,
            "versions": {name: version(name) for name in PACKAGES},
        }
        path = args.results / f"adoption-{table}"
        path.with_suffix(".csv").write_text(text)
        path.with_suffix(".json").write_text(json.dumps(made_with, indent=1) + "\n")


if __name__ == "__main__":
    main()
