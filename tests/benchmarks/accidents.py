"""Take a staged run through all its accidents, and print what happened as docs/curriculum.md has it.

python -m tests.benchmarks.accidents      # from the root of the checkout; some minutes on two cores
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from launcher.results.run_folder import RunFolder
from tests import kills
from tests.conftest import command

FAULT = """
import sys
if "launcher.workers.train" in " ".join(sys.orig_argv):
    import importlib.abc, importlib.util
    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name != "launcher.workers.engines.megatron":
                return None
            sys.meta_path.remove(self)
            module_spec = importlib.util.find_spec(name)
            run = module_spec.loader.exec_module
            def exec_module(module):
                run(module)
                spoil(module.MegatronEngine)
            module_spec.loader.exec_module = exec_module
            return found
    def spoil(engine):
        import torch
        real = engine.step
        def step(self, number, lr, apply):
            if number == 62:
                with torch.no_grad():
                    for _, gradient in self._named:
                        gradient.mul_(float("inf"))
            real(self, number, lr, apply)
        engine.step = step
    sys.meta_path.insert(0, Finder())
"""
"""A sitecustomize.py: at step 62 all weights of the run are no numbers any more."""

WORDS = (
    "curriculum=four_stage", "checkpoint_every=5", "train.spike_guard.margin=4",
    "sampling.prompts=[The language]", "sampling.validation_sequences=0",
)  # fmt: skip


class Story:
    """One run, and what is done to it."""

    def __init__(self, place: Path) -> None:
        self.place, self.run = place, place / "runs" / "four_stage"
        (place / "fault").mkdir()
        (place / "fault" / "sitecustomize.py").write_text(FAULT)

    def environment(self) -> Mapping[str, str]:
        """The weights are spoilt once: the run goes back to before, and passes step 62 over."""
        path = f"{self.place / 'fault'}{os.pathsep}{Path.cwd()}"
        variables = {"MEGALAUNCH_CACHE": str(self.place / "cache"), "COLUMNS": "110"}
        return {**os.environ, **variables, "PYTHONPATH": path, "WANDB_MODE": "disabled"}

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """A command of the story."""
        print(f"\n$ launch {' '.join(words)}", flush=True)
        return subprocess.Popen(
            command(words),
            cwd=self.place,
            env=self.environment(),
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def end(self, launcher: "subprocess.Popen[str]") -> int:
        """Wait for it, and show what it said besides its tables."""
        _, output = launcher.communicate()
        prefixes = ("[", "launch:")
        print(
            "\n".join(line for line in output.splitlines() if line.startswith(prefixes)), flush=True
        )
        return launcher.returncode

    def when(self, reached: Callable[[], bool]) -> None:
        """Wait for a moment."""
        while not reached():
            time.sleep(0.05)

    def stage(self, name: str) -> RunFolder:
        """The folder of one."""
        return RunFolder(self.run / name)


def main() -> None:
    """All accidents, then what the run's folders say of them."""
    with tempfile.TemporaryDirectory() as place:
        story = Story(Path(place))
        launcher = story.start(*WORDS)
        story.when(lambda: len(story.stage("1-web").steps()) >= 23)
        launcher.kill()
        print("... kill -9 of the launcher in stage 1; its ranks die with it")
        launcher.communicate()
        newest = story.stage("1-web").checkpoints / (story.stage("1-web").newest_checkpoint() or "")
        flip(newest / "rank0.safetensors")
        print(f"... one bit of {newest.name}/rank0.safetensors flips")
        launcher = story.start(*WORDS)
        story.when(lambda: story.stage("2-english").newest_checkpoint() is not None)
        launcher.kill()
        print("... and again, in stage 2; there is room for one rank from here on")
        launcher.communicate()
        print(f"exit {story.end(story.start('resume', 'runs/four_stage', 'train.seed=1'))}")
        changed = ("resume", "runs/four_stage", "cluster.gpus_per_node=1")
        print(f"exit {story.end(story.start(*changed))}")
        print("\n" + "\n".join(timeline(story)))
        calm = Path(place) / "calm"
        calm.mkdir()
        assert kills.finished(calm, Path(place) / "cache", WORDS) == 0
        with_accidents, calm_samples = (_samples(path) for path in (story.run, calm / "four_stage"))
        print(
            f"\nsamples of a run that met none of this: {'the same' if with_accidents == calm_samples else 'others'}"
        )


def flip(path: Path) -> None:
    """One bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def timeline(story: Story) -> list[str]:
    """The events of all stages, in the order of time, and what ranks said of damage."""
    events = []
    for name in kills.STAGES:
        for event in story.stage(name).events():
            details = {
                key: value for key, value in event.items() if key not in ("kind", "step", "time")
            }
            if event["kind"] in ("start", "rollback", "nan", "skip", "save_failed", "stop"):
                events.append((event["time"], name, event["kind"], event["step"], details))
    first = min(events)[0]
    lines = [
        f"{when - first:6.1f} s  {name:13} {kind:9} step {step:<4} {json.dumps(details)}"
        for when, name, kind, step, details in sorted(events, key=lambda event: event[0])
    ]
    logs = story.run.glob("*/**/log/rank*.txt")
    warned = {line for log in logs for line in log.read_text().splitlines() if "skipped: " in line}
    return [*lines, *sorted(warned)]


def _samples(run: Path) -> list[str]:
    return [line["samples"] for name in kills.STAGES for line in RunFolder(run / name).steps()]


if __name__ == "__main__":
    main()
