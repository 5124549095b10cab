"""Tracking of one run in Weights & Biases and TensorBoard, and a look at the W&B server.

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
from typing import Any
from urllib.parse import urlsplit

from launcher.decode import decode, encode
from launcher.errors import ConfigError, ReadError
from launcher.files import read_json, write_json
from launcher.results.run_folder import RunFolder
from launcher.spec.run import RunSpec
from launcher.spec.tracking import NAME_LENGTH, TAG_LENGTH, Mode, Tracking

ANSWER_SECONDS = 2.0
"""Seconds that the server may take to answer before a run goes on without it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """Tracking of one run, everything decided: ``tracking.json`` of its folder."""

    wandb: Mode
    tensorboard: bool
    project: str
    entity: str | None
    group: str
    name: str
    id: str
    """Id of the W&B run, the same for all attempts: a continued run stays one W&B run."""
    tags: tuple[str, ...]
    config: dict[str, Any]

    @property
    def mode(self) -> Mode:
        """Mode of W&B; the environment's WANDB_MODE decides where the settings leave it open."""
        if self.wandb != "auto":
            return self.wandb
        return _MODES.get(os.environ.get("WANDB_MODE", ""), "auto")


_MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "off",
}
"""Modes by the values that wandb knows of WANDB_MODE."""


def resolved(settings: Tracking, spec: RunSpec, label: str, group: str, run_id: str) -> Tracked:
    """Decide the tracking of a run; ``label`` tells it from the other points of its sweep."""
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


def write(folder: RunFolder, settings: Tracking, spec: RunSpec, label: str) -> None:
    """Write ``tracking.json``, with the W&B run of an attempt before where there was one.

    Another id for every folder: W&B takes the id of a run that was deleted never again, and the
    steps of a spec that is run in two places would be mixed up.
    """
    try:
        earlier = read(folder)
    except ReadError:
        earlier = None
    run_id = earlier.id if earlier else f"{spec.id}-{secrets.token_hex(3)}"
    tracked = resolved(settings, spec, label, folder.path.parent.name, run_id)
    write_json(folder.tracking_file, encode(tracked))


def read(folder: RunFolder) -> Tracked | None:
    """Read the tracking of a run; None where there is none. Raises ReadError."""
    path = folder.tracking_file
    if not path.exists():
        return None
    try:
        return decode(Tracked, read_json(path))
    except ConfigError as error:
        raise ReadError(f"{path}: {error}") from error


def server() -> str:
    """Address of the W&B server, as wandb itself finds it."""
    if url := os.environ.get("WANDB_BASE_URL"):
        return url
    folder = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(Path(folder).expanduser() / "settings", encoding="utf-8")
        return settings.get("default", "base_url", fallback="https://api.wandb.ai")
    except (configparser.Error, ValueError, OSError):
        return "https://api.wandb.ai"


def has_key(url: str) -> bool:
    """Return True if there is a key for the server: in the environment, or in netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    files = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    # As wandb does: $NETRC, else the first of the two that exists.
    path = next((p for f in files if (p := Path(f).expanduser()).exists()), None)
    if path is None:
        return False
    try:
        return netrc.netrc(path).authenticators(urlsplit(url).netloc) is not None
    except (netrc.NetrcParseError, ValueError, OSError):
        return False


def answers(url: str, seconds: float = ANSWER_SECONDS) -> bool:
    """Return True if the server answers in time, the look-up of its name included."""
    statuses: list[int] = []
    # In a thread of its own, because a look-up of a name knows no time limit.
    request = threading.Thread(target=_request, args=(url, seconds, statuses), daemon=True)
    request.start()
    request.join(seconds)
    return bool(statuses) and statuses[0] < 500


def _request(url: str, seconds: float, statuses: list[int]) -> None:
    """Append the HTTP status of an answer; nothing where none came."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            statuses.append(answer.status)
    except urllib.error.HTTPError as error:
        statuses.append(error.code)
    except (OSError, ValueError):  # no route, no such host; no such kind of address
        return
