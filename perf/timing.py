"""What the measurements share: cores, turns, tables. Imports no framework."""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def use_cores(number: int) -> int:
    """Keep this process and its children to some cores; return how many.

    Call it before the first use of JAX, which sizes its pool of threads by it.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:number])
    return len(os.sched_getaffinity(0))


def in_turns(runs: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Return the seconds of each turn of functions that alternate, after one turn to warm up.

    Taking turns shows all of them the same machine, so ratios of medians hold on a busy one, too.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(turns):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return times


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median of each."""
    return {name: statistics.median(values) for name, values in times.items()}


def paired_ratio(times: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """Return the median over turns of the ratio of two times of the same turn.

    Steadier than the ratio of medians where the machine's speed drifts from turn to turn.
    """
    return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))


def fresh_process(script: str, *arguments: object) -> dict[str, Any]:
    """Run a script in a process of its own; return the JSON object that is its last line."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory() -> float:
    """Return the most memory in GB that this process has had so far.

    From /proc: unlike `getrusage`, it does not begin with the size of the parent process.
    """
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


def settings(*packages: str) -> str:
    """Describe machine and versions in a line."""
    versions = (f"{package} {importlib.metadata.version(package)}" for package in packages)
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    return ", ".join([f"{len(os.sched_getaffinity(0))} cores", processor(), *versions, load])


def processor() -> str:
    """Return the name of the processor."""
    try:
        with open("/proc/cpuinfo") as info:
            return next(x.split(":")[1].strip() for x in info if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
