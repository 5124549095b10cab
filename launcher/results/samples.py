"""Texts and losses made with the checkpoints of a run: ``samples/step-00000020.json``."""

from dataclasses import dataclass
from pathlib import Path

from launcher.decode import decode, encode
from launcher.errors import ConfigError, ReadError
from launcher.files import read_json, write_json
from launcher.results.run_folder import RunFolder, step_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Text that the model generated for one prompt."""

    prompt: str
    text: str
    """Continuation of the prompt."""
    tokens: int
    """Tokens generated, the end of the document not included."""
    flags: tuple[str, ...]
    """Signs of a bad text: `launcher.workers.sampling.flags`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """Loss on held-out text of one source."""

    loss: float | None
    """Mean over the tokens, in nats; None where there is no such text, or it is not finite."""
    tokens: int
    why: str | None = None
    """Reason for having no loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """Texts and losses of one checkpoint."""

    step: int
    """Step of the checkpoint."""
    spec: str
    """Id of the run's spec."""
    seconds: float
    """Time it took."""
    prompts: tuple[Answer, ...]
    validation: dict[str, Validation]
    """Loss of each source of the blend."""


def forget_after(run: RunFolder, step: int) -> None:
    """Remove the files of later steps. Raises OSError."""
    for path in run.sample_files():
        if (step_of(path.stem) or 0) > step:
            path.unlink(missing_ok=True)


def read(path: Path) -> Sampled:
    """Read a file of samples. Raises ReadError."""
    try:
        return decode(Sampled, read_json(path))
    except ConfigError as error:
        raise ReadError(f"{path}: {error}") from error


def write(sampled: Sampled, path: Path) -> None:
    """Write a file of samples, whole or not at all. Raises WorkError."""
    write_json(path, encode(sampled))
