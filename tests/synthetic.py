"""Plausible curves of a run, without training: for tests of what is told about runs."""

from types import SimpleNamespace

import numpy as np

from gainjax import results

# How far accuracy falls at a switch, how long it takes to recover, where it ends.
CHARACTER = {
    "ngm-sgd": (0.04, 8.0, 0.985),
    "sgd": (0.07, 12.0, 0.96),
    "msgd": (0.75, 15.0, 0.99),
    "adam": (0.35, 6.0, 0.98),
}


def synthetic_curves(
    methods=tuple(CHARACTER),
    seeds=5,
    tasks=5,
    updates_per_task=200,
    eval_tasks=1,
    eval_every=1,
    seen_every=10,
    diverged=(),
):
    """Return a dataset of curves; `diverged` holds triples (method, seed, update)."""
    seeds = list(range(seeds))
    records = {name: _record(name, seeds, tasks, updates_per_task, eval_tasks) for name in methods}
    update = np.arange(1, tasks * updates_per_task + 1)
    task_end = update % updates_per_task == 0
    for name, record in records.items():
        for _, seed, since in (triple for triple in diverged if triple[0] == name):
            after = update >= since
            for series in (record.train_loss, record.uncertainty, record.eval_loss):
                series[seed, after] = np.nan
            record.gain[seed, after] = record.gain[seed, since - 1]
            record.accuracy[seed, after] = record.seen_accuracy[seed, after] = 0
        record.accuracy[:, (update % eval_every != 0) & ~task_end] = np.nan
        record.eval_loss[:, (update % eval_every != 0) & ~task_end] = np.nan
        record.seen_accuracy[:, (update % seen_every != 0) & ~task_end] = np.nan
    config = {
        "benchmark": "synthetic",
        "methods": {name: {"learning_rate": 0.01} for name in methods},
        "seeds": seeds,
        "protocol": {"updates_per_task": updates_per_task, "eval_every": eval_every},
    }
    return results.to_dataset(records, config, wall_time_seconds=1.5)


def _record(name, seeds, tasks, updates_per_task, eval_tasks):
    depth, recovery, final = CHARACTER[name]
    rng = np.random.default_rng(list(name.encode()))
    update = np.arange(1, tasks * updates_per_task + 1)
    current, since = np.divmod(update - 1, updates_per_task)

    uncertainty = (0.03 * (1 + current) + 0.7 * np.exp(-since / 12)) * rng.lognormal(
        0, 0.15, (len(seeds), len(update))
    )
    gain = np.ones_like(uncertainty)
    if name == "ngm-sgd":
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
    seen = final * (1 - 0.6 * np.exp(-since / 25)) - 0.01 * current
    return SimpleNamespace(
        train_loss=np.float32(uncertainty * 1.2),
        uncertainty=np.float32(uncertainty),
        gain=np.float32(gain),
        accuracy=np.float32(accuracy),
        eval_loss=np.float32(eval_loss),
        seen_accuracy=np.float32(rng.binomial(2000, np.clip(seen, 0, 1), uncertainty.shape) / 2000),
    )
