"""Generate texts from a checkpoint, on one rank that trains nothing: for ``launch sample``.

``python -P -m launcher.workers.sampling.sample --folder RUN --step N --cache CACHE --sampling JSON
--output FILE``. A failure is one line, and exit code 1.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from launcher.decode import decode
from launcher.errors import LaunchError, WorkError
from launcher.results import samples
from launcher.results.run_folder import RunFolder
from launcher.results.samples import Sampled
from launcher.spec.layout import ParallelLayout
from launcher.spec.run import RunSpec
from launcher.spec.sampling import Sampling
from launcher.workers.checkpoints import manifest
from launcher.workers.errors import DataError
from launcher.workers.process import orphans

if TYPE_CHECKING:
    from launcher.workers.checkpoints.tensorfile import CheckpointReader
    from launcher.workers.data.batches import Batch
    from launcher.workers.engines.engine import Take

ONE_RANK = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",
}
"""Environment of a single rank; it listens on any free port."""

GIB = 2**30


def main() -> None:
    """Sample one checkpoint. Exit code: 1 on failure."""
    orphans.die_with_parent()
    options = _options()
    _yield_to_training()
    os.environ |= ONE_RANK
    folder, step = RunFolder(options.folder), options.step
    try:
        sampling = decode(Sampling, json.loads(options.sampling), "sampling")
        samples.write(_sample(folder, step, options.cache, sampling), options.output)
    except FileNotFoundError as error:
        sys.exit(f"step {step}: gone before it was read: {error.filename or error}")
    except (LaunchError, DataError, OSError, MemoryError) as error:
        sys.exit(f"step {step}: {error or type(error).__name__}")


def _yield_to_training() -> None:
    """Be the OOM killer's first choice where memory runs out: ranks may train on this machine."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _sample(folder: RunFolder, step: int, cache: Path, sampling: Sampling) -> Sampled:
    began = time.monotonic()
    spec = folder.spec()
    reader = _open(folder.checkpoint(step), spec)
    answers = _answers(_on_one_rank(spec), reader, cache, sampling)
    seconds = time.monotonic() - began
    return Sampled(step=step, spec=spec.id, seconds=seconds, prompts=answers, validation={})


def _answers(
    spec: RunSpec, reader: "CheckpointReader", cache: Path, sampling: Sampling
) -> tuple[samples.Answer, ...]:
    from launcher.workers.model import fixes, platform

    platform.import_megatron()
    fixes.apply()
    from launcher.workers.model import groups
    from launcher.workers.sampling import texts
    from launcher.workers.sampling.forward import Forward

    place = groups.connect(spec)
    model = _Model(_filled(spec, place, reader))
    return texts.load(spec, cache, sampling).answers(Forward(spec, place, model, lambda: None))


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


class _Model:
    """All of a model on one rank, without an optimizer."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def forward_only(self, batches: "Sequence[Batch]", take: "Take") -> None:
        """Pass micro batches through the model."""
        from launcher.workers.engines.engine import evaluating

        with evaluating([self._model]):
            for batch in batches:
                take(self._model(batch["tokens"], None, None), batch)


def _filled(spec: RunSpec, place: Any, reader: "CheckpointReader") -> Any:
    """Return the model as training has it, without optimizer: from tokens to logits."""
    from megatron.core.transformer.module import Float16Module

    from launcher.workers.model import gpt, platform, weights

    _check_memory(spec, platform.device().type)
    config = gpt.transformer_config(spec)
    model = gpt.full_model(spec, config)
    _fill(weights.named_weights(model, spec, place), spec, reader)
    return Float16Module(config, model) if spec.train.precision == "bf16" else model


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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="launcher.workers.sampling.sample", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the run's folder")
    parser.add_argument("--step", type=int, required=True, help="of the checkpoint")
    parser.add_argument("--cache", type=Path, required=True, help="where datasets are kept")
    parser.add_argument("--sampling", required=True, help="what to try: Sampling as JSON")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
