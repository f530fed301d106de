"""Curves: the labelled results of runs, in memory and on disk."""
