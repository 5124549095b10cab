"""A rank that meets checkpoints of which something is wrong; what it says is in its log.

And how much it reads of one that is whole.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import ranks
import rebuilt

from launcher.spec import RunSpec
from launcher.workers import train

RANK = int(os.environ.get("RANK", "0"))
SHARD = "rank1.safetensors"


def main() -> None:
    """Write steps 2 and 4, damage the last one in each way, and load."""
    folder, cache = (Path(os.environ[f"MEGALAUNCH_{name}"]) for name in ("FOLDER", "CACHE"))
    spec = ranks.spec(2)
    train._import(spec)

    from launcher.workers import dataset

    if RANK == 0:
        dataset.prepare(spec, cache)
    engine = built(spec, cache)
    whole = rebuilt.store(folder / "whole", spec)
    for steps in ((1, 2), (3, 4)):
        rebuilt.losses(engine, steps)
        assert whole.save(steps[-1], engine.state(), {"step": steps[-1]})
    for name, damage in DAMAGES.items():
        if RANK == 0:
            shutil.copytree(folder / "whole", folder / name)
            damage(folder / name / "checkpoints" / "step-00000004")
        say(name)
        loaded = rebuilt.store(folder / name, spec).load(engine.state())
        say(loaded and (loaded.step, loaded.progress))
    refusals(folder / "whole", spec, cache)
    for changes in json.loads(os.environ["MEGALAUNCH_CASES"]):
        other = ranks.spec(2, **changes)
        state = built(other, cache).state()
        loaded = rebuilt.store(folder / "whole", other, lambda found: None).load(state)
        assert loaded is not None
        say(f"read {total(loaded.bytes_read)}")
    train._leave(0)


def refusals(folder: Path, spec: RunSpec, cache: Path) -> None:
    """A plain run wants its own spec; a caller that wants less still gets no other model."""
    from launcher.workers.errors import CheckpointError

    hotter = ranks.spec(2, train__optimizer__lr=3e-3)
    state = built(hotter, cache).state()
    say(f"other spec: {rebuilt.store(folder, hotter).load(state)}")
    wider = ranks.spec(2, model__ffn=192, model__heads=8)
    try:
        rebuilt.store(folder, wider, lambda found: None).load(built(wider, cache).state())
    except CheckpointError as error:
        say(f"other model: {error}")
    renamed = ranks.spec(2, model__name="another", model__rope_theta=5e5)
    loaded = rebuilt.store(folder, renamed, lambda found: None).load(built(renamed, cache).state())
    say(f"other name: {loaded and loaded.step}")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lack(folder: Path) -> None:
    """A writer that forgot a part of a matrix: everything else of it is in order."""
    from launcher.workers import manifest

    told = manifest.read(folder / manifest.NAME)
    part = told.files[SHARD]
    fc1 = [piece for piece in part.pieces if piece.name.endswith("mlp.linear_fc1.weight")]
    kept = tuple(piece for piece in part.pieces if piece != fc1[-1])
    files = told.files | {SHARD: dataclasses.replace(part, pieces=kept)}
    manifest.write(dataclasses.replace(told, files=files), folder / manifest.NAME)


def older(folder: Path) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 1'))


DAMAGES: dict[str, Any] = {
    "none": lambda folder: None,
    "flipped": lambda folder: flip(folder / SHARD),
    "truncated": lambda folder: os.truncate(folder / "rank0.safetensors", 1000),
    "missing": lambda folder: (folder / SHARD).unlink(),
    "manifest flipped": lambda folder: flip(folder / "manifest.json"),
    "manifest missing": lambda folder: (folder / "manifest.json").unlink(),
    "older format": older,
    "incomplete": lack,
    "renamed": lambda folder: folder.rename(folder.with_name("step-00000005")),
}


def built(spec: RunSpec, cache: Path) -> Any:
    return rebuilt.built(spec, rebuilt.connect(spec), cache)


def total(number: int) -> int:
    from launcher.workers.measure import gather

    return int(sum(row[0] for row in gather([number])))


def say(what: object) -> None:
    """Tell it in order with the other rank's words, on one of them."""
    from launcher.workers.measure import gather

    gather([0.0])
    if RANK == 0:
        print(f"| {what}", flush=True)
    gather([0.0])
