"""Verbs for the time before anything runs."""
