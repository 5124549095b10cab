"""A rank that loads damaged checkpoints and prints the outcomes, in its log.

It also prints how many bytes it reads of one that is complete.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

from launcher.spec.run import RunSpec, Stage
from launcher.workers import train
from tests.launcher.workers import ranks, rebuilt

RANK = int(os.environ.get("RANK", "0"))
SHARD = "rank1.safetensors"


def main() -> None:
    """Write steps 2 and 4, damage the last one in each way, and load."""
    folder, cache = (Path(os.environ[f"MEGALAUNCH_{name}"]) for name in ("FOLDER", "CACHE"))
    spec = ranks.spec(2)
    train._import(spec)

    from launcher.workers.data import dataset

    if RANK == 0:
        dataset.prepare(spec, cache)
    engine = build(spec, cache)
    undamaged = rebuilt.store(folder / "whole", spec)
    for steps in ((1, 2), (3, 4)):
        rebuilt.losses(engine, steps)
        assert undamaged.save(steps[-1], engine.state(), {"step": steps[-1]})
    for name, damage in DAMAGES.items():
        if RANK == 0:
            shutil.copytree(folder / "whole", folder / name)
            damage(folder / name / "checkpoints" / "step-00000004")
        say(name)
        loaded = rebuilt.store(folder / name, spec).load(engine.state())
        say(loaded and (loaded.step, loaded.progress))
    refusals(folder, spec, engine.state())
    for changes in json.loads(os.environ["MEGALAUNCH_CASES"]):
        stage = after(spec, **changes)
        loaded = begun(folder, stage).load(build(stage, cache).state())
        assert loaded is not None
        say(f"read {total(loaded.bytes_read)}")
    train._leave(0)


def refusals(folder: Path, spec: RunSpec, state: Any) -> None:
    """Load into other runs: the trajectory has to be the same, but for a stage after another."""
    from launcher.workers.errors import CheckpointError

    complete, empty = folder / "whole", folder / "here"
    hotter = ranks.spec(2, train__optimizer__lr=3e-3)
    say(f"another trajectory: {rebuilt.store(complete, hotter).load(state)}")
    for name, run_folder, start, stage in (
        ("another model", empty, complete, after(spec, model__ffn=192, model__heads=8)),
        (
            "another name",
            empty,
            complete,
            after(spec, model__name="another", model__rope_theta=5e5),
        ),
        ("same run", empty, complete, ranks.spec(2, backend="deepspeed", layout__zero=2)),
        ("too early", empty, complete, after(spec, steps=5)),
        ("in its own folder", complete, None, after(spec)),
        ("nothing", empty, None, after(spec)),
        ("damaged", empty, folder / "flipped", after(spec)),
    ):
        try:
            loaded = rebuilt.store(run_folder, stage, start=start).load(state)
            say(f"{name}: {loaded and loaded.step}")
        except CheckpointError as error:
            say(f"{name}: {error}")


def begun(folder: Path, spec: RunSpec) -> Any:
    """Checkpoints of a run that begins from the one in folder ``whole``."""
    return rebuilt.store(folder / "here", spec, start=folder / "whole")


def after(spec: RunSpec, steps: int = 4, **changes: Any) -> RunSpec:
    """Spec of the stage after a run of four steps."""
    stage = Stage(
        number=2,
        name="next",
        steps_before=steps,
        tokens_before=0,
        parent=spec.trajectory,
        schedule_after=0,
        schedule_steps=8,
        samples_before={},
        source_tokens={},
        max_epochs=4,
    )
    return dataclasses.replace(ranks.spec(2, **changes), stage=stage)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lack(folder: Path) -> None:
    """Forget a part of a matrix, as a faulty writer might: everything else is in order."""
    from launcher.workers.checkpoints import manifest

    checkpoint = manifest.read(folder / manifest.NAME)
    part = checkpoint.files[SHARD]
    fc1 = [piece for piece in part.pieces if piece.name.endswith("mlp.linear_fc1.weight")]
    pieces = tuple(piece for piece in part.pieces if piece != fc1[-1])
    files = checkpoint.files | {SHARD: dataclasses.replace(part, pieces=pieces)}
    manifest.write(dataclasses.replace(checkpoint, files=files), folder / manifest.NAME)


def older(folder: Path) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 3', '"format": 2'))


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


def build(spec: RunSpec, cache: Path) -> Any:
    return rebuilt.build(spec, rebuilt.connect(spec), cache)


def total(number: int) -> int:
    from launcher.workers.collectives import gather

    return int(sum(row[0] for row in gather([number])))


def say(message: object) -> None:
    """Print on rank 0, in order with the lines of the other rank."""
    from launcher.workers.collectives import gather

    gather([0.0])
    if RANK == 0:
        print(f"| {message}", flush=True)
    gather([0.0])
