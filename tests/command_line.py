"""The command line in a process of its own."""

import subprocess
import sys

RUN = ["run", "split-digits", "--methods", "sgd", "--seeds", "1", "--updates-per-task", "2"]


def command(*words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "gainjax", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip
