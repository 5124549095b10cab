"""Every error this project raises on purpose.

LaunchError            caught once, in ``launcher.cli.main``
    RequestError       the request is wrong: exit code 2, nothing was started
        ConfigError    a key or a value of the YAML or of the command line
        LayoutError    a layout that cannot run this model on this cluster
    WorkError          the work failed: exit code 1
        ReadError      a run's folder holds something that cannot be trusted
"""


class LaunchError(Exception):
    """Base class: its message is one line and is shown without a traceback."""

    exit_code = 1


class RequestError(LaunchError):
    """The user asked for something that cannot be done."""

    exit_code = 2


class ConfigError(RequestError):
    """A key or a value is wrong; the message starts with the dotted key."""


class LayoutError(RequestError):
    """The layout cannot run; the message names the numbers that disagree."""


class WorkError(LaunchError):
    """The request was right and the work failed."""


class ReadError(WorkError):
    """A file of a run's folder is missing, half written or of another version."""
