"""Measure what it is worth to train parts of a run side by side on the cores of a CPU.

    python perf/cores.py --turns 3
    python perf/cores.py --turns 3 --data-dir DIR     # also split MNIST

Each workload is a fresh process, from its first import to its last file, so compilation counts. The
threads alternate: one, as many as there are cores, and the package's own choice by measurement. For
each the median over turns and the range are printed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time

from timing import fresh_process, in_turns, settings, table, use_cores

import gainjax

RATES = [0.03, 0.025, 0.02, 0.015, 0.01, 0.008, 0.006, 0.005, 0.004, 0.003]


def work(name: str, threads: int | None, data_dir: str | None) -> None:
    """Do the work of a process."""
    if name == "100 runs on split-digits":
        grid = {"learning_rate": RATES}
        gainjax.sweep("split-digits", grid, ["ngm-sgd"], seeds=10, threads=threads)
    elif name == "4 methods on split-digits":
        gainjax.run("split-digits", seeds=5, threads=threads)
    else:
        options = {"seeds": 4, "updates_per_task": 40, "data_dir": data_dir, "threads": threads}
        gainjax.run("split-mnist", ["ngm-sgd"], **options)


def demo() -> None:
    """Run the command that the README begins with."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "gainjax", "demo", "--out", out]
        subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--data-dir")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    cores = use_cores(given.cores)
    if given.work:
        name, threads = json.loads(given.work)
        started = time.perf_counter()
        work(name, threads, given.data_dir)
        print(json.dumps({"seconds": time.perf_counter() - started}))
        return
    names = ["100 runs on split-digits", "4 methods on split-digits"]
    names += ["4 runs on split-mnist"] if given.data_dir else []
    more = ["--data-dir", given.data_dir] if given.data_dir else []
    rows = []
    for name in names:
        times = in_turns(
            {
                str(threads): lambda n=name, t=threads: fresh_process(
                    __file__, "--work", json.dumps([n, t]), "--cores", cores, *more
                )
                for threads in (1, cores, None)
            },
            given.turns,
        )
        rows.append([name, *(_shown(times[str(threads)]) for threads in (1, cores, None))])
    print(table(["s", "1 thread", f"{cores} threads", "chosen"], rows))
    print(f"\ngainjax demo: {_shown(in_turns({'demo': demo}, given.turns)['demo'])} s")
    print(settings("jax", "gainjax"))


def _shown(seconds: list[float]) -> str:
    middle = sorted(seconds)[len(seconds) // 2]
    return f"{middle:.1f} ({min(seconds):.1f} to {max(seconds):.1f})"


if __name__ == "__main__":
    main()
