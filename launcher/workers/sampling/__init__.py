"""Texts generated from checkpoints, beside training."""
