"""Logs of other programs: text, prefixes and lines, then the readers of `programs`."""
