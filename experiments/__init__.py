"""Programs that make the numbers of this project: ``python -m experiments NAME``."""
