"""Plausible curves of a run, without training: for tests of what is told about runs."""

import itertools
import json

import numpy as np

from gainjax.curves import Setting, make_curves

TITLES = {"ngm-sgd": "NGM-SGD", "sgd": "SGD", "msgd": "MSGD", "adam": "Adam"}

# How far accuracy falls at a switch, how long it takes to recover, where it ends, and how long it
# takes to learn a new task.
CHARACTER = {
    "ngm-sgd": (0.04, 8.0, 0.985, 25.0),
    "sgd": (0.07, 12.0, 0.96, 25.0),
    "msgd": (0.75, 15.0, 0.99, 25.0),
    "adam": (0.35, 6.0, 0.98, 25.0),
}
# What moves the gain of the one that has one.
DYNAMICS = {"decay": 0.9, "baseline": 1.0, "sensitivity": 0.4}
# What a sweep tries: learning rates, and sensitivities of the one method that has them.
GRID = {
    "ngm-sgd": ((0.003, 0.01, 0.03, 0.1), (0.1, 0.2, 0.4, 0.8)),
    "sgd": ((0.001, 0.003, 0.01, 0.03, 0.1, 0.3), (np.nan,)),
    "msgd": ((0.0001, 0.001, 0.003, 0.01, 0.03), (np.nan,)),
    "adam": ((0.0001, 0.0003, 0.001, 0.003, 0.01), (np.nan,)),
}
# The size of a step relative to SGD's at the same learning rate, and the gap at a step of 0.1.
_STEP = {"ngm-sgd": (3.0, 0.05), "sgd": (1.0, 0.09), "msgd": (10.0, 0.3), "adam": (60.0, 0.2)}


def synthetic_curves(
    methods=tuple(CHARACTER),
    seeds=5,
    tasks=5,
    updates_per_task=200,
    eval_tasks=1,
    eval_every=1,
    seen_every=10,
    diverged=(),
    character=CHARACTER,
    settings=None,
    without=(),
):
    """Return a dataset of curves; `diverged` holds triples (setting, seed, update)."""
    seeds = list(range(seeds))
    if settings is None:
        settings = [
            Setting(m, m, TITLES.get(m, m), {"learning_rate": 0.01} | _dynamics(m)) for m in methods
        ]
    labels = [row.label for row in settings]
    rows = {
        label: _record(label, character[label], seeds, tasks, updates_per_task, eval_tasks)
        for label in labels
    }
    update = np.arange(1, tasks * updates_per_task + 1)
    task_end = update % updates_per_task == 0
    for name, row in rows.items():
        for _, seed, since in (triple for triple in diverged if triple[0] == name):
            after = update >= since
            for series in ("train_loss", "uncertainty", "eval_loss"):
                row[series][seed, after] = np.nan
            row["gain"][seed, after] = row["gain"][seed, since - 1]
            row["accuracy"][seed, after] = row["seen_accuracy"][seed, after] = 0
    evaluated = (update % eval_every == 0) | task_end
    seen = (update % seen_every == 0) | task_end
    records = {name: np.stack([row[name] for row in rows.values()]) for name in rows[labels[0]]}
    for name, kept in (("accuracy", evaluated), ("eval_loss", evaluated), ("seen_accuracy", seen)):
        records[name] = records[name][:, :, kept]
    return make_curves(
        settings,
        {name: array for name, array in records.items() if name not in without},
        seeds=seeds,
        task_ends=update[task_end],
        eval_updates=update[evaluated],
        seen_updates=() if "seen_accuracy" in without else update[seen],
        attrs={
            "benchmark": "synthetic",
            "spec": {
                "benchmark": "synthetic",
                "protocol": {"updates_per_task": updates_per_task, "eval_every": eval_every},
                "data": "0123abcd",
            },
            "environment": {"versions": {"numpy": np.__version__}, "device": "cpu"},
            "wall_time_seconds": 1.5,
        },
    )


def synthetic_sweep(grid=GRID, **options):
    """Return a dataset of a sweep; in `diverged` a method is a label of a setting."""
    settings, character = [], {}
    for method, (rates, sensitivities) in grid.items():
        for rate, sensitivity in itertools.product(rates, sensitivities):
            values = {"learning_rate": rate, "sensitivity": sensitivity}
            values = {name: value for name, value in values.items() if not np.isnan(value)}
            label = " ".join([method, *(f"{name}={value:g}" for name, value in values.items())])
            title = TITLES.get(method, method)
            settings.append(Setting(label, method, title, values, tuple(values)))
            character[label] = _setting(method, rate, sensitivity)
    return synthetic_curves(settings=settings, character=character, **options)


def with_names(curves, names):
    """Return curves whose settings are methods of these names."""
    row = json.loads(curves.attrs["spec"])["settings"][0]
    rows = [row | {"label": name, "method": name, "title": name} for name in names]
    spec = json.dumps(json.loads(curves.attrs["spec"]) | {"settings": rows})
    named = curves.assign_coords(setting=names, method=("setting", names), title=("setting", names))
    return named.assign_attrs(spec=spec)


def _dynamics(method):
    return DYNAMICS if method == "ngm-sgd" else {}


def _setting(method, rate, sensitivity):
    """Return the character of a setting: larger steps learn faster and fall deeper."""
    relative, gap = _STEP[method]
    step = rate * relative * (1 if np.isnan(sensitivity) else 0.3 + 2 * sensitivity)
    learned = -np.expm1(-step / 0.004)
    final = 0.2 + 0.78 * learned - 0.03 * min(step, 3)
    return gap * (step / 0.1) ** 0.6 * learned, 10.0, final, 2 + 0.8 / step**0.8


def _record(name, character, seeds, tasks, updates_per_task, eval_tasks):
    depth, recovery, final, pace = character
    rng = np.random.default_rng(list(name.encode()))
    update = np.arange(1, tasks * updates_per_task + 1)
    current, since = np.divmod(update - 1, updates_per_task)

    uncertainty = (0.03 * (1 + current) + 0.7 * np.exp(-since / 12)) * rng.lognormal(
        0, 0.15, (len(seeds), len(update))
    )
    gain = np.ones_like(uncertainty)
    if name.startswith("ngm-sgd"):
        for n in range(len(update) - 1):
            gain[:, n + 1] = 0.9 * gain[:, n] + 0.1 + 0.4 * uncertainty[:, n]

    accuracy = np.empty((len(seeds), len(update), eval_tasks))
    for i in range(eval_tasks):
        age = np.clip(update - i * updates_per_task, 0, None)
        plateau = final * -np.expm1(-age / 8)
        fall = -np.expm1(-(since + 1) / 2) * np.exp(-since / recovery) * (current > i)
        size = depth * rng.lognormal(0, 0.3, (len(seeds), tasks)) / (1 + 0.5 * np.arange(tasks))
        hits = np.clip(plateau * (1 - np.minimum(size[:, current], 1) * fall), 0, 1)
        accuracy[..., i] = rng.binomial(400, hits) / 400
    eval_loss = 4 * (1 - accuracy) ** 1.5 + 0.01 * rng.lognormal(0, 0.2, accuracy.shape)
    seen = final * (1 - 0.6 * np.exp(-since / pace)) - 0.01 * current
    return {
        "train_loss": np.float32(uncertainty * 1.2),
        "uncertainty": np.float32(uncertainty),
        "gain": np.float32(gain),
        "accuracy": np.float32(accuracy),
        "eval_loss": np.float32(eval_loss),
        "seen_accuracy": np.float32(rng.binomial(2000, np.clip(seen, 0, 1), gain.shape) / 2000),
    }
