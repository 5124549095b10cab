"""Texts that a model generates, one forward pass of all prompts for each token."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.tensor_parallel import gather_from_tensor_model_parallel_region

from launcher.errors import WorkError
from launcher.results.samples import Answer
from launcher.spec.run import RunSpec
from launcher.spec.sampling import Sampling
from launcher.workers.collectives import broadcast_json, total
from launcher.workers.data import dataset
from launcher.workers.data.batches import Batch
from launcher.workers.data.tokenizer import Tokenizer
from launcher.workers.sampling.flags import flags
from launcher.workers.sampling.forward import NUMBERS, Forward

LAST = "last"
"""Key of a micro batch, with True at the last token of each context."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts as token ids, the same on every rank."""

    sampling: Sampling
    starts: list[list[int]]
    end: int
    """Id of the token after every document."""
    vocab: int
    """The tokenizer's number of tokens; the model's is padded."""
    tokenizer: Tokenizer | None
    """None but on rank 0."""

    def answers(self, forward: Forward) -> tuple[Answer, ...]:
        """Go on with each prompt; with the texts on rank 0 alone. Raises WorkError on all."""
        generated = _generate(self, forward)
        if self.tokenizer is None:
            return ()
        return tuple(
            self._answer(self.tokenizer, prompt, tokens)
            for prompt, tokens in zip(self.sampling.prompts, generated, strict=True)
        )

    def _answer(self, tokenizer: Tokenizer, prompt: str, tokens: list[int]) -> Answer:
        text = tokenizer.decode(tokens)
        wrong = tuple(flags(prompt, text, self.sampling.script))
        return Answer(prompt=prompt, text=text, tokens=len(tokens), flags=wrong)


def load(spec: RunSpec, cache: Path, sampling: Sampling) -> Prompts:
    """Tokenise the prompts, on rank 0. Raises DataError."""
    tokenizer, encoded = None, None
    if sampling.prompts and dist.get_rank() == 0:
        tokenizer = dataset.tokenizer(spec, cache)
        # As at the start of a document in the data: after the end of another one.
        starts = [
            [tokenizer.end, *map(int, ids[:-1])] for ids in tokenizer.encode(sampling.prompts)
        ]
        encoded = [starts, tokenizer.end, tokenizer.vocab]
    starts, end, vocab = broadcast_json(encoded) if sampling.prompts else ([], 0, 0)
    return Prompts(sampling, starts, end, vocab, tokenizer)


def _generate(prompts: Prompts, forward: Forward) -> list[list[int]]:
    """Generate tokens that follow each prompt, up to the end of the document.

    Each prompt draws from a generator of its own: its text does not depend on the others.
    """
    contexts, sampling = [list(start) for start in prompts.starts], prompts.sampling
    draws = [torch.Generator().manual_seed(sampling.seed) for _ in contexts]
    ended = [False for _ in contexts]
    longest = max(map(len, contexts), default=0)
    length = forward.length(longest + sampling.tokens - 1)
    for _ in range(sampling.tokens):
        if all(ended):
            break
        recent = [context[-length:] for context in contexts]
        for number, token in enumerate(_next_tokens(recent, length, draws, prompts, forward)):
            if token == prompts.end:
                ended[number] = True
            elif not ended[number]:
                contexts[number].append(token)
    return [context[len(start) :] for context, start in zip(contexts, prompts.starts, strict=True)]


def _next_tokens(
    contexts: Sequence[Sequence[int]],
    length: int,
    draws: Sequence[Any],
    prompts: Prompts,
    forward: Forward,
) -> list[int]:
    """Choose the token after each context, on the ranks that have its logits; tell all of them.

    Raises:
        WorkError: logits are not finite.
    """
    chosen = [0.0 for _ in contexts]

    def choose(logits: Any, batch: Batch) -> None:
        # All ranks of the last stage draw, so that their generators stay alike.
        for number, scores in zip(
            batch[NUMBERS], _last_logits(logits, batch, forward), strict=True
        ):
            if number is not None:
                token = _choose(scores[: prompts.vocab], draws[number], prompts.sampling)
                chosen[number] = token if forward.accounts and forward.place.cp == 0 else 0.0

    forward.run([_row(context, length) for context in contexts], choose)
    tokens = total(chosen)
    if not all(map(math.isfinite, tokens)):
        raise WorkError("the logits are not finite")
    return [int(token) for token in tokens]


def _row(context: Sequence[int], length: int) -> dict[str, Any]:
    """A context, with padding behind it: what comes later changes no token before."""
    tokens = torch.zeros(length, dtype=torch.int64)
    tokens[: len(context)] = torch.tensor(context)
    return {"tokens": tokens, LAST: torch.arange(length) == len(context) - 1}


def _last_logits(logits: Any, batch: Batch, forward: Forward) -> Any:
    """Logits after each context of a micro batch, [micro_batch, vocab], on the CPU."""
    last = logits.new_zeros((logits.size(0), logits.size(2)), dtype=torch.float32)
    rows, positions = batch[LAST].nonzero(as_tuple=True)
    last[rows] = logits[rows, positions].float()
    if forward.spec.layout.cp > 1:  # one of these ranks has that position
        dist.all_reduce(last, group=parallel_state.get_context_parallel_group())
    return gather_from_tensor_model_parallel_region(last).cpu()


def _choose(scores: Any, draws: Any, sampling: Sampling) -> float:
    """Choose a token by the scores of all; NaN where they are not finite."""
    if not torch.isfinite(scores).all():
        return math.nan
    if not sampling.temperature:
        return float(scores.argmax())
    shares = torch.softmax(scores / sampling.temperature, 0)
    return float(torch.multinomial(shares, 1, generator=draws))
