"""The room of everything SLURM; the local scheduler is the only one so far."""
