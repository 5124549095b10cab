"""Everything that came of a run: its folder, its metrics, its outcome, its record."""
