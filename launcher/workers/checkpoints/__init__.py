"""Checkpoints that any layout and engine writes and reads."""
