"""What is shown costs no more than what can be seen of it."""

import contextlib
import io
import tracemalloc

import numpy as np
import pytest
from synthetic import synthetic_curves

import gainjax

pytestmark = pytest.mark.exhaustive


@contextlib.contextmanager
def arrays_within(mebibytes):
    """Bound the memory that NumPy and Python hold at once, however busy the machine is."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mebibytes * 2**20


def test_long_curves_and_many_seeds_are_shown_at_a_bounded_cost():
    ends = [100_000, 200_000]
    rng = np.random.default_rng(0)
    accuracy = {name: rng.random((5, 200_000, 1), np.float32) for name in ("a", "b")}
    curves = gainjax.from_curves(accuracy, eval_updates=range(1, 200_001), task_ends=ends)
    with arrays_within(100):  # it took 3.4 GB
        figure = gainjax.plot_curves(curves)
    for axes in figure.axes:  # what is drawn is what a page can show
        assert all(len(line.get_xdata()) < 10_000 for line in axes.lines)
        bands = [path for band in axes.collections for path in band.get_paths()]
        assert all(len(path.vertices) < 20_000 for path in bands)
    figure.savefig(io.BytesIO(), format="png")
    seeds = synthetic_curves(methods=("sgd", "adam"), seeds=5000, tasks=2, updates_per_task=3)
    with arrays_within(700):  # all random patterns at once would take 2.6 GB; it died at 9 GB
        assert gainjax.comparison(seeds, metrics=["avg_sg"])["avg_sg_p"].item() == 2**-16
