"""What is tried with each checkpoint of a run, beside its training."""

from dataclasses import dataclass
from typing import Literal

from launcher.decode import Count, NotNegative, Whole
from launcher.errors import ConfigError

Script = Literal[
    "latin", "japanese", "chinese", "korean", "cyrillic", "greek", "arabic", "hebrew",
    "devanagari", "thai",
]  # fmt: skip
"""What a text is written in. Languages of one script are not told apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Texts that are generated, and validation losses."""

    prompts: tuple[str, ...]
    """Texts that the model goes on with; "" is the beginning of a document."""
    tokens: Count = 64
    """To generate for each prompt, at most: the end of the document ends it."""
    temperature: NotNegative = 0.0
    """0 takes the likeliest token each time."""
    seed: Whole = 0
    """Of what is drawn where the temperature is above 0."""
    script: Script | None = None
    """What the texts should be written in; null takes any."""
    validation_sequences: Whole = 16
    """Of what data.held_out keeps apart of each source, at most; 0 computes no validation loss."""

    def check(self, every: int | None) -> None:
        """Raise ConfigError where nothing would ever be done."""
        if not every:
            raise ConfigError("sampling: follows checkpoints; give checkpoint_every")
        if not self.prompts and not self.validation_sequences:
            raise ConfigError("sampling.prompts: is empty, and so is validation_sequences 0")
