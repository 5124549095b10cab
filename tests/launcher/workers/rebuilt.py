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
class Before:
    """The case before."""

    folder: Path
    losses: list[float]


def main() -> None:
    """Try every case of MEGALAUNCH_CASES; an assertion names the first that fails.

    MEGALAUNCH_BEFORE is the folder of a case that another process has tried.
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
    before = None
    if "MEGALAUNCH_BEFORE" in os.environ:
        folder = Path(os.environ["MEGALAUNCH_BEFORE"])
        before = Before(folder, json.loads((folder / "losses.json").read_text()))
    for number, spec in enumerate(cases):
        before = Case(spec, options.folder / str(number), options.cache).run(before)
    train._leave(0)


class Case:
    """One layout."""

    def __init__(self, spec: RunSpec, folder: Path, cache: Path) -> None:
        self._spec, self._folder, self._cache = spec, folder, cache
        self._place = connect(spec)

    def run(self, before: Before | None) -> Before:
        """Everything that is to hold of it."""
        engine = self._built()
        losses(engine, FIRST)
        saves = store(self._folder, self._spec, Checkpointing(asynchronous=True))
        assert saves.save(2, engine.state(), {"seen": [1, 2.5]}), self._spec
        wanted, left = losses(engine, SECOND), tensors(engine)  # while it is written
        assert saves.finish(), self._spec
        del engine
        gc.collect()
        engine = self._built()
        loaded = self._store(self._folder).load(engine.state())
        assert loaded is not None and (loaded.step, loaded.progress) == (2, {"seen": [1, 2.5]})
        found, right = losses(engine, SECOND), tensors(engine)
        assert found == wanted, (self._spec.backend, self._spec.layout, found, wanted)
        assert len(left) == len(right) > 10
        for one, other in zip(left, right, strict=True):
            assert bool((one == other).all()), (self._spec.backend, self._spec.layout)
        if before:
            self._take_over(engine, before)
        if os.environ["RANK"] == "0":
            (self._folder / "losses.json").write_text(json.dumps(wanted))
        return Before(self._folder, wanted)

    def _take_over(self, engine: Any, before: Before) -> None:
        """Go on from what another layout wrote, and write the same."""
        assert self._store(before.folder).load(engine.state()), self._spec
        again = self._folder / "again"
        assert self._store(again).save(2, engine.state(), {}), self._spec
        whole = wholes(again)
        for name, other in wholes(before.folder).items():
            assert bool((whole.pop(name) == other).all()), (self._spec.layout, name)
        assert not whole, whole.keys()
        self._check_weights(engine, wholes(again))
        found = losses(engine, SECOND)
        apart = max(abs(a - b) for a, b in zip(found, before.losses, strict=True))
        assert apart < (1e-5 if self._spec.train.precision == "fp32" else 5e-3), (
            self._spec.backend, self._spec.layout, found, before.losses,
        )  # fmt: skip

    def _check_weights(self, engine: Any, whole: dict[str, Any]) -> None:
        """What the model computes with is the cast of the fp32 weights, on every rank."""
        from launcher.workers.model import initial_weights, weights

        for name, parameter in engine._named:
            with gathered(parameter):
                value = whole[f"{weights.stored_name(name, self._spec.model)}.weight"]
                shard = weights.shard_of(name, self._spec, self._place)
                if parameter.dim() == 1:
                    value = value[0]
                else:
                    rows, columns = initial_weights.indices(tuple(parameter.shape), shard)
                    value = value[rows][:, columns]
                assert bool((parameter == value.to(parameter.dtype)).all()), name

    def _built(self) -> Any:
        return built(self._spec, self._place, self._cache)

    def _store(self, folder: Path) -> Any:
        return store(folder, self._spec)


def built(spec: RunSpec, place: Any, cache: Path) -> Any:
    """An engine that has done no step yet."""
    from launcher.workers.data.batches import Batches
    from launcher.workers.engines import engine

    return engine.build(spec, place, Batches(spec, place, cache))


def store(folder: Path, spec: RunSpec, *options: Any, **more: Any) -> Any:
    """The checkpoints of a folder, as its first attempt sees them."""
    from launcher.workers.checkpoints.checkpoints import Checkpoints

    folder.mkdir(parents=True, exist_ok=True)
    return Checkpoints(RunFolder(folder), spec, 1, *options, **more)


def connect(spec: RunSpec) -> Any:
    """The groups of a layout, also after those of another one."""
    from megatron.core import parallel_state

    from launcher.workers.model import groups, platform

    if parallel_state.is_initialized():
        parallel_state.destroy_model_parallel()
        platform.join = lambda timeout: None
    return groups.connect(spec)


def gathered(parameter: Any) -> Any:
    """Have all of it here: ZeRO-3 keeps a part."""
    import contextlib

    if not hasattr(parameter, "ds_id"):
        return contextlib.nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters([parameter])


def losses(engine: Any, steps: tuple[int, ...]) -> list[float]:
    """Mean loss of each step, over all ranks."""
    from launcher.workers.collectives import gather

    out = []
    for step in steps:
        seen: list[Any] = []
        engine.step(step, 1e-3, lambda done, seen=seen: not seen.append(done))
        table = gather([seen[0].loss_sum, seen[0].tokens])
        out.append(sum(row[0] for row in table) / sum(row[1] for row in table))
    return out


def tensors(engine: Any) -> list[Any]:
    """Copies of all that is the state of this rank."""
    from launcher.workers.checkpoints.tensorfile import KINDS

    out = []
    for local in engine.state()._parameters:
        out += [stretch.tensor.clone() for stretch in local.weights()]
        if local.fragment is not None:
            out += [local.fragment.tensor(kind).clone() for kind in KINDS]
            out += [local.fragment.optimizer.state[local.fragment.master]["step"].clone()]
    return out


def wholes(folder: Path) -> dict[str, Any]:
    """The whole matrices of a checkpoint, as anybody would read them."""
    import torch
    from safetensors import safe_open

    path = folder / "checkpoints" / "step-00000002"
    told = json.loads((path / "manifest.json").read_text())
    out = {}
    for name, shape in told["tensors"].items():
        for kind in ("weight", "exp_avg", "exp_avg_sq"):
            out[f"{name}.{kind}"] = torch.full(shape, torch.nan)
    for name, part in told["files"].items():
        with safe_open(path / name, "pt") as file:
            for piece in part["pieces"]:
                (top, bottom), (left, right) = piece["rows"], piece["columns"]
                assert piece["steps"] == 2
                for kind in ("weight", "exp_avg", "exp_avg_sq"):
                    key = f"{piece['name']}[{top}:{bottom},{left}:{right}].{kind}"
                    out[f"{piece['name']}.{kind}"][top:bottom, left:right] = file.get_tensor(key)
    return out
