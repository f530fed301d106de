"""What the gain does, where the drop comes from, and what the landscape looks like."""
