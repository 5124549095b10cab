"""Spikes of a series, and the ladder of answers to them: pure, for training and for analysis."""
