"""Training: a compiled program per method and shape, run chunk by chunk from the host."""

from gainjax.training.layout import Layout, make_layout
from gainjax.training.loop import Chunk, train
from gainjax.training.program import Program
from gainjax.training.protocol import Protocol
from gainjax.training.step import TrainState

__all__ = ["Chunk", "Layout", "Program", "Protocol", "TrainState", "make_layout", "train"]
