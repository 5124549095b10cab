"""Exceptions that a rank raises on purpose; the name and the message end up in its log."""


class DataError(Exception):
    """The text cannot be trained on; the message names the numbers that disagree."""


class DivergedError(Exception):
    """The loss or the gradient norm is not finite."""


class DeviceError(Exception):
    """The node has no card for this rank."""


class CheckpointError(Exception):
    """A checkpoint is of another model, or the one that is needed is not there; the message names
    the first size that differs, or the folder and the step."""


class LinkError(Exception):
    """The all-reduce between the ranks does not work, or not in time."""
