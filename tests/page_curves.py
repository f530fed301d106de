"""Curves for pages and formats: from elsewhere, and of many gains."""

import numpy as np
from synthetic import CHARACTER, DYNAMICS, synthetic_curves

import gainjax
from gainjax.curves import Setting


def foreign(shape=(3, 40, 1), labels=("er", "ewc"), **more):
    rng = np.random.default_rng(0)
    every = 10
    when = {"eval_updates": range(every, every * shape[1] + 1, every), "task_ends": [200, 400]}
    return gainjax.from_curves({m: rng.uniform(0.7, 1, shape) for m in labels}, **(when | more))


def with_gains(count, seeds=2, **dynamics):
    """Return a sweep of settings with a gain each."""
    values = [
        {"learning_rate": rate, **DYNAMICS, **dynamics} for rate in np.geomspace(0.01, 0.1, count)
    ]
    rows = [
        Setting(f"ngm-sgd {v['learning_rate']:.4f}", "ngm-sgd", "NGM-SGD", v, ("learning_rate",))
        for v in values
    ]
    character = {row.label: CHARACTER["ngm-sgd"] for row in rows}
    return synthetic_curves(settings=rows, character=character, seeds=seeds, tasks=3)
