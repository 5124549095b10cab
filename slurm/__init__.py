"""Everything SLURM: submission on the login node, supervisor and rank agent on the nodes."""
