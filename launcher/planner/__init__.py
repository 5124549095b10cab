"""Cost of a spec before it runs: memory, step time, and how sure that is."""
