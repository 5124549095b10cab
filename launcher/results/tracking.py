"""What of a run is shown in Weights & Biases and TensorBoard, and whether W&B can be reached.

``metrics.jsonl`` is the truth; tracking follows it, and never holds a key.
"""

import configparser
import netrc
import os
import secrets
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from launcher.decode import decode, encode
from launcher.errors import ConfigError, ReadError
from launcher.files import read_json, write_json
from launcher.results.run_folder import RunFolder
from launcher.spec.run import RunSpec

Mode = Literal["auto", "online", "offline", "off"]

ANSWER_SECONDS = 2.0
"""How long the server may take to answer before a run goes on without it."""

PROJECT_LENGTH = NAME_LENGTH = 128
TAG_LENGTH = 64
"""W&B refuses what is longer."""

NOT_IN_A_PROJECT = "/\\#?%:"
"""Characters that W&B refuses in a project's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracking:
    """What a user can say: the keys below ``tracking``."""

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
        bad = sorted(set(self.project) & set(NOT_IN_A_PROJECT))
        if bad:
            raise ConfigError(f"tracking.project: {self.project!r} holds {' '.join(bad)}")
        if not self.project.strip():
            raise ConfigError("tracking.project: is empty")
        _check_length("project", self.project, PROJECT_LENGTH)
        _check_length("group", self.group or "", NAME_LENGTH)
        for number, tag in enumerate(self.tags):
            if not tag:
                raise ConfigError(f"tracking.tags[{number}]: is empty")
            _check_length(f"tags[{number}]", tag, TAG_LENGTH)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """How one run is shown: ``tracking.json`` of its folder."""

    wandb: Mode
    tensorboard: bool
    project: str
    entity: str | None
    group: str
    name: str
    id: str
    """The W&B run's, of all attempts: one that is continued stays one W&B run."""
    tags: tuple[str, ...]
    config: dict[str, Any]

    @property
    def mode(self) -> Mode:
        """What to do about W&B, WANDB_MODE of the environment considered."""
        said = os.environ.get("WANDB_MODE", "")
        return _MODES.get(said, "auto") if self.wandb == "auto" else self.wandb


_MODES: dict[str, Mode] = {
    "online": "online", "run": "online", "shared": "online",
    "offline": "offline", "dryrun": "offline", "disabled": "off",
}  # fmt: skip
"""Values of WANDB_MODE."""


def resolved(settings: Tracking, spec: RunSpec, label: str, group: str, run_id: str) -> Tracked:
    """Return how a run is shown; ``label`` tells it from the other points of its sweep."""
    layout = spec.layout
    degrees = (f"tp{layout.tp}", f"pp{layout.pp}", f"zero{layout.zero}")
    tags = (*settings.tags, spec.backend, spec.model.name, *degrees, spec.cluster.name)
    title = spec.model.name if label == spec.id else label
    return Tracked(
        wandb=settings.wandb,
        tensorboard=settings.tensorboard,
        project=settings.project,
        entity=settings.entity,
        group=(settings.group or group)[:NAME_LENGTH],
        name=f"{title[: NAME_LENGTH - len(spec.id) - 3]} ({spec.id})",
        id=run_id,
        tags=tuple(dict.fromkeys(tag[:TAG_LENGTH] for tag in tags if tag)),
        config=encode(spec) | {"dp": spec.dp, "gpus": spec.cluster.gpus},
    )


def write(folder: RunFolder, said: Tracking, spec: RunSpec, label: str) -> None:
    """Write ``tracking.json``, with the W&B run of an attempt before where there was one.

    Another id for every folder: W&B takes the id of a run that was deleted never again, and the
    steps of a spec that is run in two places would be mixed up.
    """
    try:
        earlier = read(folder)
    except ReadError:
        earlier = None
    run_id = earlier.id if earlier else f"{spec.id}-{secrets.token_hex(3)}"
    tracked = resolved(said, spec, label, folder.path.parent.name, run_id)
    write_json(folder.tracking_file, encode(tracked))


def read(folder: RunFolder) -> Tracked | None:
    """How a run is shown; None where nobody said so. Raises ReadError."""
    path = folder.tracking_file
    if not path.exists():
        return None
    try:
        return decode(Tracked, read_json(path))
    except ConfigError as error:
        raise ReadError(f"{path}: {error}") from error


def server() -> str:
    """Address of the W&B server, as wandb itself finds it."""
    if said := os.environ.get("WANDB_BASE_URL"):
        return said
    folder = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(Path(folder).expanduser() / "settings", encoding="utf-8")
        return settings.get("default", "base_url", fallback="https://api.wandb.ai")
    except (configparser.Error, ValueError, OSError):
        return "https://api.wandb.ai"


def has_key(url: str) -> bool:
    """Whether there is a key for the server: in the environment, or in netrc by `wandb login`."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    files = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    path = next((p for f in files if (p := Path(f).expanduser()).exists()), None)
    if path is None:
        return False
    try:
        return netrc.netrc(path).authenticators(urlsplit(url).netloc) is not None
    except (netrc.NetrcParseError, ValueError, OSError):
        return False


def answers(url: str, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether the server answers in time; looking up its name, which knows no limit, included."""
    heard: list[int] = []
    question = threading.Thread(target=_ask, args=(url, seconds, heard), daemon=True)
    question.start()
    question.join(seconds)
    return bool(heard) and heard[0] < 500


def _ask(url: str, seconds: float, heard: list[int]) -> None:
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            heard.append(answer.status)
    except urllib.error.HTTPError as error:
        heard.append(error.code)
    except (OSError, ValueError):  # no route, no such host; no such kind of address
        return


def _check_length(key: str, value: str, most: int) -> None:
    if len(value) > most:
        raise ConfigError(f"tracking.{key}: {len(value)} characters, W&B takes {most}")
