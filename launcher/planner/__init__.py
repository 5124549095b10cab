"""What a spec will cost, before it runs: memory, step time, and how sure that is."""
