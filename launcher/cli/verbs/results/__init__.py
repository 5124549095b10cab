"""Verbs about what has been trained."""
