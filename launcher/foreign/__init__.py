"""Logs and sheets of runs that this project did not start, as records and metrics."""
