"""Programs that produce the numbers of this project: ``python -m experiments NAME``."""
