"""Analysis: what the gain does, from curves and toy models."""
