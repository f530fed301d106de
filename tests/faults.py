"""Kill runs at random moments, over one process and over two, and compare what comes out.

    python -m tests.faults --rounds 1000
    python -m tests.faults --rounds 100 --processes 2

A run is started, killed by SIGKILL (one time of ten by SIGTERM) and started again until it was
killed often enough to be let finish; then its curves must be bit for bit those of a run that was
never disturbed, and nothing else may be left in its directory. Each time it must resume from the
newest checkpoint that was there. Prints what was done and how long it took; exits with 1 at the
first difference, and keeps that directory.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

METHODS = ("ngm-sgd", "adam")
PER_RUN = 20  # kills before a run may finish
OPTIONS: dict[str, Any] = {
    "seeds": 3,
    "updates_per_task": 30,
    "batch_size": 16,
    "eval_examples": 20,
    "chunk": 3,
    "threads": 1,
}
ALLOWED = {"curves.nc", ".lock", ".lock-1"}


def child(out: Path, pipe: int, pause: float, place: tuple[int, int, int] | None) -> None:
    """Run in a process of its own, telling of each chunk through a pipe."""
    import jax

    from gainjax import run
    from gainjax.runs import part_store
    from gainjax.runs.guard import Interrupted
    from gainjax.runs.part_store import PartStore

    part_store.FIRST = part_store.SPACING = 0.0
    keep, restore = PartStore.keep, PartStore.restore

    def slow_keep(self: PartStore, chunk: Any) -> None:
        keep(self, chunk)
        os.write(pipe, b"x")
        time.sleep(pause)

    def noting_restore(self: PartStore, abstract: Any) -> Any:
        found = restore(self, abstract)
        with (out.parent / f"restored-{os.getpid()}").open("a") as file:
            print(self.name, found[0] if found else 0, file=file)
        return found

    PartStore.keep, PartStore.restore = slow_keep, noting_restore  # type: ignore[method-assign]
    if place is not None:
        port, number, me = place
        jax.distributed.initialize(f"127.0.0.1:{port}", number, me)
    try:
        run("split-digits", METHODS, out=out, **OPTIONS)
    except Interrupted as stopped:
        os._exit(128 + stopped.signum)
    os._exit(0)


def position(out: Path) -> str | None:
    """Return the first unfinished method and the newest sealed checkpoint of it."""
    for method in METHODS:
        if not (out / "progress" / f"{method}.npz").exists():
            steps = [int(p.stem) for p in (out / "progress" / method).glob("*.crc32")]
            return f"{method} {max(steps, default=0)}"
    return None


def once(out: Path, processes: int, signum: int | None, wait: float, after_chunk: bool) -> int:
    """Start a run and maybe kill it; return the number of its children that ended well."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    read, pipe = os.pipe()
    pause = 0.0 if signum is None else 0.03
    expected = position(out)
    children = []
    for me in range(processes):
        if (pid := os.fork()) == 0:
            try:
                os.close(read)
                child(out, pipe, pause, (port, processes, me) if processes > 1 else None)
            finally:
                os._exit(1)
        children.append(pid)
    os.close(pipe)
    if signum is not None:
        if after_chunk:
            os.read(read, 1)
        time.sleep(wait)
        for pid in children:
            os.kill(pid, signum)
        if signum != signal.SIGKILL:  # whoever waits for another one that is gone
            time.sleep(5)
            for pid in children:
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    os.kill(pid, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    os.close(read)
    for path in out.parent.glob("restored-*"):
        first = path.read_text().split("\n")[0]
        path.unlink()
        if expected and processes == 1 and first and first != expected:
            sys.exit(f"resumed from {first}, and there was {expected}")
    return sum(code == 0 for code in codes)


def same(found: Path, wanted: Path) -> bool:
    """Whether two runs have the same curves, and only files of a finished run are left."""
    import gainjax

    ours, theirs = (gainjax.load(path).drop_attrs(deep=False) for path in (found, wanted))
    return ours.identical(theirs) and {path.name for path in found.iterdir()} <= ALLOWED


def finish(out: Path, processes: int) -> None:
    """Let a run come to its end."""
    if once(out, processes, None, 0, False) != processes:
        sys.exit(f"the run in {out} does not finish")


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="how many kills")
    parser.add_argument("--processes", type=int, default=1, choices=(1, 2))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gainjax-faults-"))
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    # Everything that children need is imported here, and no device is touched before they fork.
    import orbax.checkpoint  # noqa: F401
    from sklearn.datasets import load_digits

    import gainjax.runs.api  # noqa: F401

    load_digits()
    rng, started, killed, finished = random.Random(given.seed), time.monotonic(), 0, 0
    finish(folder / "wanted", given.processes)  # also fills the cache of compiled programs
    while killed < given.rounds:
        out = folder / f"run-{finished}"
        for _ in range(min(PER_RUN, given.rounds - killed)):
            signum = signal.SIGTERM if rng.random() < 0.1 else signal.SIGKILL
            once(out, given.processes, signum, rng.uniform(0, 0.25), rng.random() < 0.8)
            killed += 1
        finish(out, given.processes)
        if (pid := os.fork()) == 0:  # comparing imports what must not be there when others fork
            os._exit(0 if same(out, folder / "wanted") else 1)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            sys.exit(f"after {killed} kills the run in {out} differs from {folder / 'wanted'}")
        shutil.rmtree(out)
        finished += 1
        print(f"{killed} kills, {finished} runs the same", flush=True)
    minutes = round((time.monotonic() - started) / 60, 1)
    told = {"kills": killed, "processes": given.processes, "runs": finished, "minutes": minutes}
    print(json.dumps(told | {"different": 0}))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
