"""Tables kept by hand: read as points of the planner, predicted, and fitted to."""
