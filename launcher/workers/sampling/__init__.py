"""Validation losses and texts: of a model that is being trained, and of checkpoints."""
