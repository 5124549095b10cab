"""The code that runs on SLURM's nodes, with what a node always has: the standard library."""
