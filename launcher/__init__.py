"""One run, from what is asked to what was measured."""
