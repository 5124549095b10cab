"""Generate texts from a checkpoint, and score it on held-out text: one process, beside training.

``python -P -m launcher.workers.sampling.sample --folder RUN --step N --cache CACHE --sampling
JSON``. A failure is one line, and exit code 1.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from launcher.decode import decode
from launcher.errors import LaunchError, WorkError
from launcher.results import samples
from launcher.results.run_folder import RunFolder
from launcher.results.samples import Answer, Sampled, Validation
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from launcher.spec.sampling import Sampling
from launcher.workers.checkpoints import manifest
from launcher.workers.errors import DataError
from launcher.workers.process import orphans
from launcher.workers.sampling.flags import flags

if TYPE_CHECKING:
    from launcher.workers.checkpoints.tensorfile import CheckpointReader

ONE_RANK = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",
}
"""Environment of a single rank, whatever rank started it; it listens on any free port."""

GIB = 2**30


def main() -> None:
    """Sample one checkpoint. Exit code: 1 on failure, 0 also for one deleted before it was read."""
    orphans.die_with_parent()
    options = _options()
    _yield_to_training()
    os.environ |= ONE_RANK
    folder, step = RunFolder(options.folder), options.step
    try:
        sampling = decode(Sampling, json.loads(options.sampling), "sampling")
        sampled = _sample(folder, step, options.cache, sampling)
        samples.write(sampled, options.output or _output_path(folder, step))
    except FileNotFoundError as error:
        print(f"step {step}: gone before it was read: {error.filename or error}")
    except (LaunchError, DataError, OSError, MemoryError) as error:
        sys.exit(f"step {step}: {error or type(error).__name__}")
    else:
        print(f"step {step}: {len(sampled.prompts)} texts, {sampled.seconds:.1f} s")


def _output_path(folder: RunFolder, step: int) -> Path:
    folder.samples.mkdir(exist_ok=True)
    return folder.sample_file(step)


def _yield_to_training() -> None:
    """Be the OOM killer's first choice where memory runs out, and leave signals to the ranks."""
    # SLURM signals every process of a step; the rank heeds it, and ends this process as it leaves.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _sample(folder: RunFolder, step: int, cache: Path, sampling: Sampling) -> Sampled:
    began = time.monotonic()
    spec = folder.spec()
    reader = _open(folder.checkpoint(step), spec)
    model = _model(_on_one_rank(spec), reader)
    return Sampled(
        step=step,
        spec=spec.id,
        prompts=_answers(model, spec, cache, sampling) if sampling.prompts else (),
        validation=_validation(model, spec, cache, sampling.validation_sequences),
        seconds=time.monotonic() - began,
    )


def _open(path: Path, spec: RunSpec) -> "CheckpointReader":
    """Open a checkpoint, which may be deleted from now on.

    Raises:
        FileNotFoundError: it has been deleted already.
        ReadError: it is damaged.
        WorkError: it is of another model.
    """
    from safetensors import SafetensorError

    from launcher.workers.checkpoints.tensorfile import CheckpointReader

    manifest_path = path / manifest.NAME
    manifest_path.stat()
    checkpoint = manifest.read(manifest_path)
    difference = checkpoint.differing_size(spec.model)
    if difference:
        raise WorkError(f"{path.name} is of another model: {difference}")
    reader = CheckpointReader(path, checkpoint)
    try:
        reader.open_all()
    except SafetensorError as error:
        raise WorkError(f"{path.name} is damaged: {error}") from error
    return reader


def _on_one_rank(spec: RunSpec) -> RunSpec:
    """Return the spec of the same model on one rank."""
    cluster = replace(spec.cluster, nodes=1, gpus_per_node=1)
    return replace(spec, cluster=cluster, layout=ParallelLayout(zero=0))


def _model(spec: RunSpec, reader: "CheckpointReader") -> Any:
    """Return the model as training has it, without optimizer: from tokens to logits or losses."""
    from launcher.workers.model import fixes, platform

    platform.import_megatron()
    fixes.apply()
    from megatron.core.transformer.module import Float16Module

    from launcher.workers.model import gpt, groups, weights

    place, bf16 = groups.connect(spec), spec.train.precision == "bf16"
    _check_memory(spec, platform.device().type)
    config = gpt.transformer_config(spec)
    model = gpt.full_model(spec, config)
    _fill(weights.named_weights(model, spec, place), spec, reader)
    return (Float16Module(config, model) if bf16 else model).eval()


def _check_memory(spec: RunSpec, device: str) -> None:
    """Raise WorkError for a model that does not fit: the OOM killer might choose a rank instead."""
    needed = spec.model.params * (2 if spec.train.precision == "bf16" else 4)
    free = psutil.virtual_memory().available
    if device == "cpu" and needed > free:
        raise WorkError(f"the weights need {needed / GIB:.1f} GiB, {free / GIB:.1f} are free")


def _fill(named_weights: Any, spec: RunSpec, reader: "CheckpointReader") -> None:
    """Read the weights, and nothing of the optimizer. Raises WorkError where one is missing."""
    import torch

    from launcher.workers.checkpoints import matrix_regions
    from launcher.workers.checkpoints.tensorfile import WEIGHT
    from launcher.workers.model import weights
    from launcher.workers.model.initial_weights import Shard

    with torch.no_grad():
        for weight in named_weights:
            stored = weights.stored_name(weight.name, spec.model)
            shape = matrix_regions.full_shape(weight.shape, Shard(None))
            region = matrix_regions.Region(0, shape[0], 0, shape[1])
            if not reader.has(stored, region):
                raise WorkError(f"{stored} is not all there")
            reader.read(stored, WEIGHT, region, weight.tensor.view(shape))


def _answers(model: Any, spec: RunSpec, cache: Path, sampling: Sampling) -> tuple[Answer, ...]:
    from launcher.workers.data import dataset

    tokenizer = dataset.tokenizer(spec, cache)
    answers = []
    for prompt in sampling.prompts:
        # As at the start of a document in the data: after the end of another one.
        (ids,) = tokenizer.encode([prompt])
        start = [tokenizer.end, *map(int, ids[:-1])]
        score = _NextToken(model, spec.model.sequence, tokenizer.vocab)
        tokens = generate(score, start, tokenizer.end, sampling)
        text = tokenizer.decode(tokens)
        wrong = tuple(flags(prompt, text, sampling.script))
        answers.append(Answer(prompt=prompt, text=text, tokens=len(tokens), flags=wrong))
    return tuple(answers)


class _NextToken:
    """Scores of each token as the next one, by a model."""

    def __init__(self, model: Any, sequence: int, vocab: int) -> None:
        """``vocab`` is the tokenizer's number of tokens; the model's is padded."""
        self._model, self._sequence, self._vocab = model, sequence, vocab

    def __call__(self, ids: list[int]) -> Any:
        """Logits of the next token, after as many of the last ``ids`` as one sequence holds."""
        import torch

        from launcher.workers.model import platform

        row = torch.tensor([ids[-self._sequence :]], device=platform.device())
        with torch.no_grad():
            logits = self._model(row, None, None)[0, -1, : self._vocab].float().cpu()
        if not torch.isfinite(logits).all():
            raise WorkError("the logits are not finite")
        return logits


def generate(
    score: Callable[[list[int]], Any], start: list[int], end: int, sampling: Sampling
) -> list[int]:
    """Generate tokens that follow others, up to the end of the document.

    Each prompt draws from a generator of its own: its text does not depend on the others.
    """
    import torch

    draws, ids = torch.Generator().manual_seed(sampling.seed), list(start)
    for _ in range(sampling.tokens):
        logits = score(ids)
        if sampling.temperature:
            shares = torch.softmax(logits / sampling.temperature, 0)
            token = int(torch.multinomial(shares, 1, generator=draws))
        else:
            token = int(logits.argmax())
        if token == end:
            break
        ids.append(token)
    return ids[len(start) :]


def _validation(model: Any, spec: RunSpec, cache: Path, limit: int) -> dict[str, Validation]:
    from launcher.workers.data import dataset

    if not limit:
        return {}
    validations = {}
    for source, sequences in dataset.held_out(spec, cache):
        if isinstance(sequences, str):  # the reason why there are none
            validations[source] = Validation(loss=None, tokens=0, why=sequences)
        else:
            first = [sequences[number] for number in range(min(limit, len(sequences)))]
            validations[source] = _validation_loss(model, spec, source, first)
    return validations


def _validation_loss(model: Any, spec: RunSpec, name: str, sequences: list[Any]) -> Validation:
    """Mean loss, computed one sequence at a time. Raises DataError or WorkError."""
    import torch

    from launcher.workers.model import platform

    total, tokens = 0.0, 0
    for sequence in sequences:
        pair = [sequence[key][None].to(platform.device()) for key in ("tokens", "labels")]
        largest = int(max(row.max() for row in pair))
        if largest >= spec.model.vocab:
            raise DataError(f"token id {largest} in {name}, model.vocab is {spec.model.vocab}")
        with torch.no_grad():
            losses = model(pair[0], None, None, labels=pair[1]).double()
        total, tokens = total + float(losses.sum()), tokens + losses.numel()
    if not total < float("inf"):
        raise WorkError(f"the loss on {name} is not finite")
    return Validation(loss=total / tokens, tokens=tokens)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="launcher.workers.sampling.sample", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the run's folder")
    parser.add_argument("--step", type=int, required=True, help="of the checkpoint")
    parser.add_argument("--cache", type=Path, required=True, help="where datasets are kept")
    parser.add_argument("--sampling", required=True, help="what to try: Sampling as JSON")
    parser.add_argument("--output", type=Path, help="without it among the run's samples")
    return parser.parse_args()


if __name__ == "__main__":
    main()
