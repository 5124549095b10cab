"""Modules of Transformer Engine for torch: its optimizers, and names alone."""

from transformer_engine.unused import named as __getattr__  # noqa: F401
