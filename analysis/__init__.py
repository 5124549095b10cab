"""Records as tables; what was measured, what failed and why."""
