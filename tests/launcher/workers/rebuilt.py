"""A rank that trains, saves, trains on, and does the last steps again in an engine built anew.

Then it takes over the checkpoint of the case before: other layout, other engine, same model.
"""

import argparse
import gc
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.results.run_folder import RunFolder
from launcher.spec.checkpointing import Checkpointing
from launcher.spec.run import RunSpec
from launcher.workers import train
from tests.launcher.workers import ranks

FIRST, SECOND = (1, 2), (3, 4)
"""Steps before the checkpoint and after it."""


@dataclass(frozen=True, slots=True)
class Previous:
    """Folder and losses of the case before."""

    folder: Path
    losses: list[float]


def main() -> None:
    """Try every case of MEGALAUNCH_CASES; an assertion names the first that fails.

    MEGALAUNCH_PREVIOUS is the folder of a case that another process has tried.
    """
    parser = argparse.ArgumentParser()
    for name in ("--folder", "--cache", "--hang-after"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    world = int(os.environ["WORLD_SIZE"])
    cases = [ranks.spec(world, **changes) for changes in json.loads(os.environ["MEGALAUNCH_CASES"])]
    train._import(cases[0])

    from launcher.workers.data import dataset

    if os.environ["RANK"] == "0":
        dataset.prepare(cases[0], options.cache)
    previous = None
    if "MEGALAUNCH_PREVIOUS" in os.environ:
        folder = Path(os.environ["MEGALAUNCH_PREVIOUS"])
        previous = Previous(folder, json.loads((folder / "losses.json").read_text()))
    for number, spec in enumerate(cases):
        previous = Case(spec, options.folder / str(number), options.cache).run(previous)
    train._leave(0)


class Case:
    """One layout."""

    def __init__(self, spec: RunSpec, folder: Path, cache: Path) -> None:
        self._spec, self._folder, self._cache = spec, folder, cache
        self._place = connect(spec)

    def run(self, previous: Previous | None) -> Previous:
        """Check all that is to hold of a layout."""
        engine = self._built()
        losses(engine, FIRST)
        saves = store(self._folder, self._spec, Checkpointing(asynchronous=True))
        assert saves.save(2, engine.state(), {"seen": [1, 2.5]}), self._spec
        expected, tensors_before = losses(engine, SECOND), tensors(engine)  # while it is written
        assert saves.finish(), self._spec
        del engine
        gc.collect()
        engine = self._built()
        loaded = self._store(self._folder).load(engine.state())
        assert loaded is not None and (loaded.step, loaded.progress) == (2, {"seen": [1, 2.5]})
        repeated, tensors_after = losses(engine, SECOND), tensors(engine)
        assert repeated == expected, (self._spec.backend, self._spec.layout, repeated, expected)
        assert len(tensors_before) == len(tensors_after) > 10
        for expected_tensor, tensor in zip(tensors_before, tensors_after, strict=True):
            assert bool((expected_tensor == tensor).all()), (self._spec.backend, self._spec.layout)
        if previous:
            self._take_over(engine, previous)
        if os.environ["RANK"] == "0":
            (self._folder / "losses.json").write_text(json.dumps(expected))
        return Previous(self._folder, expected)

    def _take_over(self, engine: Any, previous: Previous) -> None:
        """Go on from what another layout wrote, and write the same."""
        assert self._store(previous.folder).load(engine.state()), self._spec
        rewritten = self._folder / "again"
        assert self._store(rewritten).save(2, engine.state(), {}), self._spec
        matrices = full_matrices(rewritten)
        for name, matrix in full_matrices(previous.folder).items():
            assert bool((matrices.pop(name) == matrix).all()), (self._spec.layout, name)
        assert not matrices, matrices.keys()
        self._check_weights(engine, full_matrices(rewritten))
        repeated = losses(engine, SECOND)
        difference = max(abs(a - b) for a, b in zip(repeated, previous.losses, strict=True))
        case = (self._spec.backend, self._spec.layout, repeated, previous.losses)
        assert difference < (1e-5 if self._spec.train.precision == "fp32" else 5e-3), case

    def _check_weights(self, engine: Any, matrices: dict[str, Any]) -> None:
        """Check on every rank that the model computes with the cast of the fp32 weights."""
        from launcher.workers.model import initial_weights, weights

        for weight in engine._named:
            name = weight.name
            with gathered(weight.parameter):
                value = matrices[f"{weights.stored_name(name, self._spec.model)}.weight"]
                shard = weights.shard_of(name, self._spec, self._place)
                if len(weight.shape) == 1:
                    value = value[0]
                else:
                    rows, columns = initial_weights.indices(weight.shape, shard)
                    value = value[rows][:, columns]
                assert bool((weight.tensor == value.to(weight.tensor.dtype)).all()), name

    def _built(self) -> Any:
        return build(self._spec, self._place, self._cache)

    def _store(self, folder: Path) -> Any:
        return store(folder, self._spec)


def build(spec: RunSpec, place: Any, cache: Path) -> Any:
    """Build an engine, which has done no step yet."""
    from launcher.workers.data.batches import Batches
    from launcher.workers.engines import engine

    return engine.build(spec, place, Batches(spec, place, cache))


def store(folder: Path, spec: RunSpec, *options: Any, **more: Any) -> Any:
    """Checkpoints of a folder, as its first attempt sees them."""
    from launcher.workers.checkpoints.checkpoints import Checkpoints

    folder.mkdir(parents=True, exist_ok=True)
    return Checkpoints(RunFolder(folder), spec, 1, *options, **more)


def connect(spec: RunSpec) -> Any:
    """Make the groups of a layout, also after those of another one."""
    from megatron.core import parallel_state

    from launcher.workers.model import groups, platform

    if parallel_state.is_initialized():
        parallel_state.destroy_model_parallel()
        platform.join = lambda timeout: None
    return groups.connect(spec)


def gathered(parameter: Any) -> Any:
    """Context in which a parameter is complete, also one that ZeRO-3 partitions."""
    import contextlib

    if not hasattr(parameter, "ds_id"):
        return contextlib.nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters([parameter])


def losses(engine: Any, steps: tuple[int, ...]) -> list[float]:
    """Mean loss of each step, over all ranks."""
    from launcher.workers.collectives import gather

    means = []
    for step in steps:
        rank_steps: list[Any] = []
        engine.step(step, 1e-3, lambda rank_step, to=rank_steps: not to.append(rank_step))
        table = gather([rank_steps[0].loss_sum, rank_steps[0].tokens])
        means.append(sum(row[0] for row in table) / sum(row[1] for row in table))
    return means


def tensors(engine: Any) -> list[Any]:
    """Copies of all that is the state of this rank."""
    from launcher.workers.checkpoints.tensorfile import KINDS

    copies = []
    for local in engine.state()._parameters:
        copies += [weight.tensor.clone() for weight in local.weights()]
        stepped_on = local.optimizer_slice
        if stepped_on is not None:
            copies += [stepped_on.tensor(kind).clone() for kind in KINDS]
            copies += [stepped_on.optimizer.state[stepped_on.master]["step"].clone()]
    return copies


def full_matrices(folder: Path) -> dict[str, Any]:
    """Full matrices of a checkpoint, read without this package."""
    import torch
    from safetensors import safe_open

    path = folder / "checkpoints" / "step-00000002"
    manifest = json.loads((path / "manifest.json").read_text())
    matrices = {}
    for name, shape in manifest["tensors"].items():
        for kind in ("weight", "exp_avg", "exp_avg_sq"):
            matrices[f"{name}.{kind}"] = torch.full(shape, torch.nan)
    for name, part in manifest["files"].items():
        with safe_open(path / name, "pt") as file:
            for piece in part["pieces"]:
                (top, bottom), (left, right) = piece["rows"], piece["columns"]
                assert piece["steps"] == 2
                for kind in ("weight", "exp_avg", "exp_avg_sq"):
                    tensor = file.get_tensor(
                        f"{piece['name']}[{top}:{bottom},{left}:{right}].{kind}"
                    )
                    matrices[f"{piece['name']}.{kind}"][top:bottom, left:right] = tensor
    return matrices
