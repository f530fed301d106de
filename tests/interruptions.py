"""Runs that are interrupted: what the tests of resuming share."""

import pytest

import gainjax
from gainjax.runs import part_store
from gainjax.runs.part_store import PartStore


class Crash(Exception):
    pass


def checkpoint_every_chunk(monkeypatch):
    """Let a checkpoint be made after every chunk, finished before the next one begins."""
    monkeypatch.setattr(part_store, "FIRST", 0.0)
    monkeypatch.setattr(part_store, "SPACING", 0.0)
    keep = PartStore.keep

    def wait(self, chunk):
        keep(self, chunk)
        self._wait()

    monkeypatch.setattr(PartStore, "keep", wait)


def crash(update, *arguments, label=None, run=gainjax.run, **options):
    """Call `run` until a method has passed an update; what it had before that chunk is stored.

    Args:
        update: The update.
        *arguments: Of the run, whose methods follow one another.
        label: Label of the method, or None for the first one that comes so far.
        run: `gainjax.run` or another function that passes `on_chunk` on.
        **options: Of the run.
    """

    def on_chunk(name, done, _):
        if label in (None, name) and done > update:
            raise Crash

    with pytest.MonkeyPatch.context() as monkeypatch:
        checkpoint_every_chunk(monkeypatch)
        with pytest.raises(Crash):
            run(*arguments, on_chunk=on_chunk, **{"threads": 1} | options)


def numbers(curves):
    """Return curves without what is said about them, such as how long they took."""
    return curves.drop_attrs(deep=False)
