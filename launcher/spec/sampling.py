"""Evaluation of a run at each of its checkpoints: sample texts, validation losses."""

from dataclasses import dataclass
from typing import Literal

from launcher.decode import Count, NotNegative, Whole
from launcher.errors import ConfigError

Script = Literal[
    "latin",
    "japanese",
    "chinese",
    "korean",
    "cyrillic",
    "greek",
    "arabic",
    "hebrew",
    "devanagari",
    "thai",
]
"""Writing system of a text. Languages of one script are not told apart."""


TOKENS = 64
"""Tokens to generate for each prompt, where nothing is said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Texts to generate at each checkpoint, and validation losses to compute."""

    prompts: tuple[str, ...]
    """Texts that the model goes on with; "" is the beginning of a document."""
    tokens: Count = TOKENS
    """Tokens to generate for each prompt, at most: the end of the document ends it."""
    temperature: NotNegative = 0.0
    """0 takes the likeliest token each time."""
    seed: Whole = 0
    """Seed of the tokens that are drawn where the temperature is above 0."""
    script: Script | None = None
    """Writing system that the texts should have; null takes any."""
    validation_sequences: Whole = 16
    """Sequences of what data.held_out keeps apart of each source, at most; 0 computes no
    validation loss."""

    def check(self, every: int | None) -> None:
        """Raise ConfigError where it would never generate or compute anything."""
        if not every:
            raise ConfigError("sampling: follows checkpoints; give checkpoint_every")
        if not self.prompts and not self.validation_sequences:
            raise ConfigError("sampling.prompts: is empty, and so is validation_sequences 0")
