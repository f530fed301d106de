"""What users bring, trained, crashed and resumed; for tests of their methods, models and data."""

import matplotlib.pyplot as plt
import numpy as np
import optax
from interruptions import crash, numbers
from sklearn.datasets import load_digits

import gainjax

DIGITS = load_digits()


def lion(learning_rate=1e-3, b1=0.9):
    return optax.lion(learning_rate, b1=b1)


def survives(out, benchmark, methods=("sgd", "ngm-sgd"), **options):
    """Train, and again with a crash in the middle of the last method; return the curves.

    Then look at them in every way there is.
    """
    options = {"seeds": 2, "chunk": 3, "threads": 1} | options
    wanted = gainjax.run(benchmark, methods, **options)
    last = wanted.setting.values[-1]
    half = wanted.sizes["update"] // 2
    crash(half, benchmark, methods, label=last, out=out, **options)
    assert (
        gainjax.load(out, partial=True).setting.values.tolist()
        == wanted.setting.values.tolist()[:-1]
    )
    resumed = gainjax.run(benchmark, methods, out=out, **options)
    assert numbers(resumed).identical(numbers(wanted))
    assert gainjax.load(out).identical(resumed)
    assert (wanted.diverged_update == 0).all()
    frame = gainjax.per_seed(wanted)
    assert len(frame) == wanted.sizes["setting"] * wanted.sizes["seed"]
    assert len(gainjax.table(wanted)) == wanted.sizes["setting"]
    plt.close(gainjax.plot_curves(wanted))
    return wanted


def digits_stream():
    x, y = DIGITS.images.astype(np.uint8)[..., None] * 15, DIGITS.target
    return gainjax.data.class_incremental(
        x[:1500], y[:1500], x[1500:], y[1500:], tasks=[[7, 1, 3], [9, 0]]
    )
