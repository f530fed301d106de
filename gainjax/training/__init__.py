"""Training: one compiled program per method and shape, called chunk by chunk from the host."""

from gainjax.training.advance import Record
from gainjax.training.goal import CLASSIFICATION, Goal
from gainjax.training.layout import Layout, make_layout
from gainjax.training.loop import Chunk, collect, train
from gainjax.training.program import Program
from gainjax.training.protocol import Protocol
from gainjax.training.step import TrainState

__all__ = [
    "CLASSIFICATION",
    "Chunk",
    "Goal",
    "Layout",
    "Program",
    "Protocol",
    "Record",
    "TrainState",
    "collect",
    "make_layout",
    "train",
]
