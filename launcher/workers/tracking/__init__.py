"""The process that shows a run in W&B and TensorBoard."""
