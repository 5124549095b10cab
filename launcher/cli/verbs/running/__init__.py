"""Verbs that start runs, watch them and end them."""
