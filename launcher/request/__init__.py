"""A command's request, composed and checked; the only room that imports Hydra."""
