"""NGM-SGD and momentum SGD at the first switch of the authors' Split CIFAR-10.

    python -m experiments cifar-first-switch --data-dir DIR

Evaluates the whole test set of the first task, 2,000 images.
"""

from typing import Annotated

import pandas as pd
import tyro
import xarray as xr

from experiments.lab import Lab, first_tasks
from gainjax import plot_curves, table
from gainjax.curves import task_ends


def cifar_first_switch(lab: Annotated[Lab, tyro.conf.arg(name="")], seeds: int = 1) -> None:
    """Compare NGM-SGD and momentum SGD at the first switch of the authors' Split CIFAR-10.

    Args:
        lab: Folders and options.
        seeds: Number of seeds.
    """
    (whole,) = lab.benchmarks(["split-cifar10"])
    curves = lab.run(
        "cifar-first-switch",
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
