"""Runs over many devices and processes are those of one device, to the last bit."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

import gainjax
from gainjax.curves import FILE

pytestmark = pytest.mark.exhaustive

SETTINGS = {"updates_per_task": 4, "batch_size": 16, "eval_examples": 20}
WORDS = ["--updates-per-task", "4", "--batch-size", "16", "--eval-examples", "20"]

EIGHT = """
import signal, sys
import jax, numpy as np, gainjax
from gainjax.runs.guard import Interrupted
from gainjax.runs.part_store import PartStore
assert jax.device_count() == 8
out, settings = sys.argv[1], eval(sys.argv[2])
for layout in ("map", "vmap"):
    gainjax.run("split-digits", ["ngm-sgd"], 13, layout=layout, out=f"{out}/{layout}", **settings)

keep = PartStore.keep
def stop(self, chunk):
    if self.name == "adam" and chunk.done == 10:
        signal.raise_signal(signal.SIGTERM)
    keep(self, chunk)
PartStore.keep = stop
try:
    gainjax.run("split-digits", ["adam"], 3, chunk=2, out=f"{out}/stopped", **settings)
except Interrupted as stopped:
    print(stopped)
"""


def environment(devices):
    return os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
    }


def assert_same(curves, expected):
    xr.testing.assert_identical(curves.drop_attrs(), expected.drop_attrs())


def test_eight_devices(tmp_path):
    """13 runs on 8 devices; and what was stopped on 8 devices goes on on one."""
    told = subprocess.run(
        [sys.executable, "-c", EIGHT, str(tmp_path), str(SETTINGS)],
        capture_output=True,
        text=True,
        env=environment(8),
    )
    assert told.returncode == 0, told.stderr
    assert "stopped by SIGTERM after update 10 of 20 of adam" in told.stdout
    one = gainjax.run("split-digits", ["ngm-sgd"], 13, layout="map", **SETTINGS)
    assert_same(gainjax.load(tmp_path / "map"), one)
    batched = gainjax.load(tmp_path / "vmap")
    for name in ("train_loss", "accuracy", "gain"):
        np.testing.assert_allclose(batched[name], one[name], rtol=1e-4, atol=1e-6)
    expected = gainjax.run("split-digits", ["adam"], 3, **SETTINGS)
    assert_same(gainjax.resume(tmp_path / "stopped"), expected)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_two(folder, *words, stop=False):
    """Run two processes with two devices each; return what they print and their exit codes.

    With `stop`, both get SIGTERM as soon as both have begun.
    """
    port = free_port()
    # Each writes a checkpoint after every chunk, so that they write at the same time.
    script = "from gainjax.runs import part_store as store; store.FIRST = store.SPACING = 0.0; "
    script += "from gainjax.cli import main; main()"
    command = [sys.executable, "-c", script, *words, "--out", "out", "--processes", "2"]
    processes = [
        subprocess.Popen(
            [*command, "--coordinator", f"127.0.0.1:{port}", "--process-id", str(i)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(2),
            cwd=folder,
        )
        for i in range(2)
    ]
    while stop and len(list(folder.glob("out/progress*/run.json"))) < 2:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    if stop:
        for process in processes:
            process.terminate()
    try:
        told = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()  # one that waits for another for ever
    return told, [process.returncode for process in processes]


def test_two_processes_with_two_devices_each(tmp_path):
    """Nine runs in shares of five: stopped, gone on with, stored once, printed by the first."""
    grid = {"learning_rate": [0.1, 0.03, 0.01]}
    words = ["sweep", "split-digits", "--methods", "sgd", "--seeds", "3", *WORDS]
    words += ["--chunk", "2", "--grid", "learning_rate=.1,.03,.01"]
    told, codes = run_two(tmp_path, *words, stop=True)
    # A process may have finished its share when the signal comes; it stops with the other.
    assert any("stopped by SIGTERM after update" in text for text in told), (codes, told)
    assert all("stopped" in text for text in told), (codes, told)
    # Once all is stored, JAX may abort a process that leaves while its coordinator shuts down.
    assert set(codes) <= {128 + signal.SIGTERM, -signal.SIGABRT}, (codes, told)
    assert {p.name for p in tmp_path.glob("out/progress*")} == {"progress", "progress-1"}
    with pytest.raises(ValueError, match="was begun by 2 processes"):
        gainjax.resume(tmp_path / "out")

    told, codes = run_two(tmp_path, *words)
    assert codes == [0, 0], told
    assert "wrote" in told[0]
    assert "wrote" not in told[1]
    expected = gainjax.sweep("split-digits", grid, ["sgd"], 3, **SETTINGS)
    assert_same(gainjax.load(tmp_path / "out"), expected)
    left = {p.name for p in (tmp_path / "out").iterdir()}
    assert left >= {".lock", ".lock-1", FILE, "ranking.csv"}
    assert not any("progress" in name for name in left)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--processes", "2"], "--process-id K belong together"),
        (["--coordinator", "127.0.0.1:1"], "belong together"),
    ],
)
def test_half_an_address_is_refused(words, message, capsys, tmp_path):
    from gainjax.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["run", "split-digits", "--out", str(tmp_path), *words])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
