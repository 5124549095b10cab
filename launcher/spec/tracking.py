"""Settings of Weights & Biases and TensorBoard: the keys below ``tracking``."""

from dataclasses import dataclass
from typing import Literal

from launcher.errors import ConfigError

Mode = Literal["auto", "online", "offline", "off"]

PROJECT_LENGTH = NAME_LENGTH = 128
TAG_LENGTH = 64
"""Characters that W&B takes at most."""

NOT_IN_A_PROJECT = "/\\#?%:"
"""Characters that W&B refuses in a project's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracking:
    """Choices of a user: which trackers follow a run, and under which names."""

    wandb: Mode = "auto"
    """auto is online where there is a key and the server answers, else offline; the variable
    WANDB_MODE wins over auto. What is offline is uploaded by ``launch sync``."""
    tensorboard: bool = True
    """Write event files to ``tensorboard/`` in the run's folder."""
    project: str = "megalaunch"
    """W&B project."""
    entity: str | None = None
    """W&B user or team; the key's own where not given."""
    group: str | None = None
    """W&B group; the sweep's folder where not given."""
    tags: tuple[str, ...] = ()
    """W&B tags, besides the engine, the model, the layout and the cluster."""

    def check(self) -> None:
        """Raise ConfigError on what W&B would refuse once the run has started."""
        refused = sorted(set(self.project) & set(NOT_IN_A_PROJECT))
        if refused:
            raise ConfigError(f"tracking.project: {self.project!r} holds {' '.join(refused)}")
        if not self.project.strip():
            raise ConfigError("tracking.project: is empty")
        _check_length("project", self.project, PROJECT_LENGTH)
        _check_length("group", self.group or "", NAME_LENGTH)
        for number, tag in enumerate(self.tags):
            if not tag:
                raise ConfigError(f"tracking.tags[{number}]: is empty")
            _check_length(f"tags[{number}]", tag, TAG_LENGTH)


def _check_length(key: str, value: str, limit: int) -> None:
    if len(value) > limit:
        raise ConfigError(f"tracking.{key}: {len(value)} characters, W&B takes {limit}")
