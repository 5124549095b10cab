"""Logs of other programs: one reader for each program."""
