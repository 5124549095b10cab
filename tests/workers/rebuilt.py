"""A rank that trains, saves, trains on, and does the last steps again in an engine built anew.

The cases of one process share their process groups; standard input names them.
"""

import argparse
import gc
import json
import os
from pathlib import Path

import ranks

from launcher.folder import RunFolder
from launcher.spec import RunSpec
from launcher.workers import train


def main() -> None:
    """Try every case of MEGALAUNCH_CASES; an assertion names the first that fails."""
    parser = argparse.ArgumentParser()
    for name in ("--folder", "--cache", "--hang-after"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    cases = [ranks.spec(2, **changes) for changes in json.loads(os.environ["MEGALAUNCH_CASES"])]
    train._import(cases[0])

    from launcher.workers import dataset, groups

    if os.environ["RANK"] == "0":
        dataset.prepare(cases[0], options.cache)
    place = groups.connect(cases[0])
    for spec in cases:
        again(spec, place, options.folder, options.cache)
    train._leave(0)


def again(spec: RunSpec, place: object, folder: Path, cache: Path) -> None:
    """Steps 3 and 4 twice, the second time from a checkpoint of step 2."""
    from launcher.workers import engine
    from launcher.workers.batches import Batches
    from launcher.workers.checkpoint import Checkpoints

    store = Checkpoints(RunFolder(folder / spec.id), spec.id, 1)
    store._metrics = folder / "spec.json"  # any file: nothing is measured here
    batches = Batches(spec, place, cache)
    first = engine.build(spec, place, batches)
    for step in (1, 2):
        first.step(step, 1e-3)
    assert store.save(2, first.state()), spec.layout
    wanted = [first.step(step, 1e-3) for step in (3, 4)]
    left = flat(first.state().contents())
    del first
    gc.collect()
    second = engine.build(spec, place, batches)
    assert store.load(second.state()) == 2
    found = [second.step(step, 1e-3) for step in (3, 4)]
    assert found == wanted, (spec.backend, spec.layout, found, wanted)
    right = flat(second.state().contents())
    assert len(left) == len(right) > 10
    for one, other in zip(left, right, strict=True):
        assert bool((one == other).all()), (spec.backend, spec.layout)
    print(spec.backend, spec.layout, [f"{done.loss_sum:.9g}" for done in wanted])


def flat(contents: object) -> list:
    """Every tensor, in order."""
    if isinstance(contents, dict):
        return [tensor for value in contents.values() for tensor in flat(value)]
    if isinstance(contents, list):
        return [tensor for value in contents for tensor in flat(value)]
    return [] if isinstance(contents, int) else [contents]
