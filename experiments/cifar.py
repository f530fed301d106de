"""Does the effect carry over to natural images and a convolutional network?

    python -m experiments cifar --data-dir DIR
    python -m experiments cifar-first-switch --data-dir DIR

The first is our reduced Split CIFAR-10 (8 channels, 100 updates of 64 images per task) over all
five tasks, for the paper's methods, a gain in every layer instead of the head alone, and averages
of the weights. The second is the authors' own protocol up to its first switch, since all of it
takes hours on a CPU; it evaluates the whole test set of the first task, 2,000 images.
"""

from typing import Annotated

import pandas as pd
import tyro
import xarray as xr

import gainjax
from experiments.lab import Lab, against_first, first_tasks
from experiments.league.claim import RULE, SETTING
from gainjax import plot_curves, table
from gainjax.curves import task_ends

EVERYWHERE = "ngm-sgd-everywhere"  # with a gain in every layer, not in the head alone
SETTINGS: dict[str, dict[str, float]] = {
    "ngm-sgd": {},
    EVERYWHERE: {},
    "sgd": {},
    "msgd": {},
    "adam": {},
    "ngm-sgd-ema": {},
    "adagrad-ema": {},
    RULE: SETTING,  # the claim's
}
_METRICS = ("avg_sg", "min_acc", "avg_acc", "anytime_accuracy", "final_accuracy")
_TESTED = ("avg_sg", "anytime_accuracy")


def cifar(lab: Annotated[Lab, tyro.conf.arg(name="")], seeds: int = 10) -> None:
    """Compare the methods on a reduced Split CIFAR-10.

    Args:
        lab: Folders and options.
        seeds: Number of seeds.
    """
    (benchmark,) = lab.benchmarks(["split-cifar10-small"])
    curves = {
        label: lab.run(
            f"cifar/{label}",
            benchmark,
            {label: "ngm-sgd" if label == EVERYWHERE else label},
            seeds,
            hyperparameters={label: setting},
            modulate="all" if label == EVERYWHERE else None,
        )
        for label, setting in SETTINGS.items()
    }
    per_seed = {label: gainjax.per_seed(one).set_index("seed") for label, one in curves.items()}
    rows = against_first(per_seed, _METRICS, _TESTED, tuple(SETTINGS)[1:])
    lab.write("cifar", rows, list(curves.values()))
    # Curves of another protocol are not joined: the table has them, the figure does not.
    alike = [one for label, one in curves.items() if label != EVERYWHERE]
    lab.draw("cifar", plot_curves(gainjax.concat(alike, "setting")))


def cifar_first_switch(lab: Annotated[Lab, tyro.conf.arg(name="")], seeds: int = 1) -> None:
    """Compare NGM-SGD and momentum SGD at the first switch of the authors' Split CIFAR-10.

    Args:
        lab: Folders and options.
        seeds: Number of seeds.
    """
    (whole,) = lab.benchmarks(["split-cifar10"])
    curves = lab.run(
        "cifar/first-switch",
        first_tasks(whole, 2),
        ("ngm-sgd", "msgd"),
        seeds,
        eval_examples=None,
        eval_every=5,
    )
    lab.draw("cifar-first-switch", plot_curves(curves))
    rows = table(curves).join(_around_the_switch(curves))
    lab.write("cifar-first-switch", rows, [curves])


def _around_the_switch(curves: xr.Dataset) -> pd.DataFrame:
    """Return the accuracy on task 1 around its first switch, for means over seeds."""
    first = curves.sel(eval_task=1).mean("seed")
    switch = task_ends(curves)[0]
    after = first.sel(eval_update=first.eval_update > switch)
    return pd.DataFrame(
        {
            "before": first.accuracy.sel(eval_update=switch),
            "lowest": after.accuracy.min("eval_update"),
            "lowest_update": after.accuracy.idxmin("eval_update"),
            "end": after.accuracy.isel(eval_update=-1),
            "highest_loss": after.eval_loss.max("eval_update"),
        },
        index=pd.Index(curves.setting.values.tolist(), name="setting"),
    )
