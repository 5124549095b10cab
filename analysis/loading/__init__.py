"""Runs from their folders: rows and series, read in parallel and cached."""
