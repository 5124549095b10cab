"""The verb ``sample``: texts from the checkpoints of a run, kept ones or made now."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from launcher.cli.parser import add_table_options, new_parser, parse
from launcher.cli.verb import Verb
from launcher.decode import encode
from launcher.errors import ConfigError, ReadError, WorkError
from launcher.results import samples
from launcher.results.run_folder import RunFolder
from launcher.results.samples import Sampled
from launcher.spec.sampling import Sampling

DESCRIPTION = """Texts that were generated from the checkpoints of a run, what is wrong with them,
and the validation loss of each source. With --prompt nothing is kept: the newest checkpoint goes on
with that text now, on this machine's cores."""

TOKENS = Sampling(prompts=()).tokens
"""Generated where nothing is said."""

FOLDED = ("prompt", "text", "why")
"""Columns of the table that take several lines."""


def sample(words: Sequence[str]) -> int:
    """Print the samples of runs, or make one."""
    parser = new_parser("sample", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="of a run; without --prompt also of many")
    parser.add_argument("--step", type=int, metavar="N", help="of this checkpoint alone")
    parser.add_argument("--prompt", action="append", metavar="TEXT", help="go on with it now")
    parser.add_argument("--tokens", type=int, metavar="N",
                        help=f"to generate at most; {TOKENS}")  # fmt: skip
    parser.add_argument("--cache", metavar="DIR", help="of tokenised data, where the run had"
                        " another one than <output>/.cache")  # fmt: skip
    parser.add_argument("--card", action="store_true", help="use a card: nothing may train on it")
    add_table_options(parser)
    options = parse(parser, words)
    path = Path(options.folder).expanduser()
    if options.prompt is None:
        _check_unused(options)
        _print(_kept(path, options.step), options)
    else:
        _print([("", _made(path, options))], options)
    return 0


def _check_unused(options: argparse.Namespace) -> None:
    for name in ("tokens", "cache", "card"):
        if getattr(options, name) not in (None, False):
            raise ConfigError(f"--{name}: has no meaning without --prompt")


def _kept(path: Path, step: int | None) -> list[tuple[str, Sampled]]:
    """The samples below a folder, each with the name of its run where these are several."""
    from launcher.results.find import runs

    runs_there = runs(path)
    if not runs_there:
        raise ConfigError(f"{path}: no runs below this folder")
    several = len(runs_there) > 1
    found = [
        (str(run.path.relative_to(path)) if several else "", one)
        for run in runs_there
        for one in _read(run)
    ]
    if not found:
        raise ConfigError(f"{path}: no samples; sampling.prompts=[TEXT] keeps some of each"
                          " checkpoint, --prompt TEXT makes one now")  # fmt: skip
    wanted = [(name, one) for name, one in found if step in (None, one.step)]
    if not wanted:
        raise ConfigError(f"--step: no samples of step {step}; {_listed(o.step for _, o in found)}")
    return wanted


def _read(run: RunFolder) -> Iterator[Sampled]:
    for path in run.sample_files():
        try:
            yield samples.read(path)
        except ReadError as error:
            print(f"launch: left out: {error}", file=sys.stderr)


def _made(path: Path, options: argparse.Namespace) -> Sampled:
    """What a checkpoint makes of the prompts of the command line."""
    from launcher.campaign import preflight

    run = _only_run(path)
    words = _command(run, _checkpoint(run, options.step), options)
    preflight.check_installed("megatron")
    env = {**os.environ, "MEGALAUNCH_PARENT": str(os.getpid())}
    if not options.card:
        env["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "sampled.json"
        done = subprocess.run([*words, "--output", str(output)], env=env, capture_output=True,
                              text=True, check=False)  # fmt: skip
        if done.returncode or not output.exists():
            lines = (done.stdout + done.stderr).splitlines()
            raise WorkError(lines[-1] if lines else f"sampling ended with {done.returncode}")
        return samples.read(output)


def _command(run: RunFolder, step: int, options: argparse.Namespace) -> list[str]:
    tokens = TOKENS if options.tokens is None else options.tokens
    if tokens < 1:
        raise ConfigError(f"--tokens: {tokens} is below 1")
    sampling = Sampling(prompts=tuple(options.prompt), tokens=tokens, validation_sequences=0)
    own = os.environ.get("MEGALAUNCH_CACHE") or run.path.resolve().parents[1] / ".cache"
    words = [sys.executable, "-P", "-m", "launcher.workers.sampling.sample"]
    words += ["--folder", str(run.path), "--cache", str(Path(options.cache or own).expanduser())]
    return [*words, "--step", str(step), "--sampling", json.dumps(encode(sampling))]


def _only_run(path: Path) -> RunFolder:
    from launcher.results.find import runs

    found = runs(path)
    if not found:
        raise ConfigError(f"{path}: no runs below this folder")
    trained = [run for run in found if run.newest_checkpoint()]
    if trained and all(run.spec().stage for run in trained):
        return max(trained, key=lambda run: run.checkpoint_steps()[-1])  # stages of one model
    if len(found) > 1:
        raise ConfigError(f"--prompt: {len(found)} runs are below {path}; name the folder of one")
    return found[0]


def _checkpoint(run: RunFolder, step: int | None) -> int:
    """The step of a checkpoint that is there: the one that is asked for, or the newest."""
    there = run.checkpoint_steps()
    if not there:
        raise ConfigError(f"{run.path}: no checkpoint in this run; checkpoint_every makes some")
    if step not in (None, *there):
        raise ConfigError(f"--step: no checkpoint of step {step}; {_listed(there)}")
    return there[-1] if step is None else step


def _listed(steps: Any) -> str:
    return f"there are {', '.join(map(str, sorted(set(steps))))}"


def _print(found: Sequence[tuple[str, Sampled]], options: argparse.Namespace) -> None:
    from analysis import table

    rows = [row for name, one in found for row in _rows(name, one)]
    if options.format == "table":
        rows = [{name: _shown(value) for name, value in row.items()} for row in rows]
    shown = table.plain(rows, options.sort)
    shown.attrs |= {"folded": FOLDED, "wide": 160}
    shown.attrs["notes"] = [line for name, one in found for line in _without(name, one)]
    table.put(shown, options.format, options.output)


def _rows(name: str, one: Sampled) -> Iterator[dict[str, Any]]:
    """One for each prompt, or one where there is none."""
    of = {"run": name or None, "step": one.step}
    losses = {f"loss {source}": found.loss for source, found in one.validation.items()}
    if not one.prompts:
        yield of | losses
    for answer in one.prompts:
        flags = ", ".join(answer.flags) or None
        yield of | {"prompt": answer.prompt, "text": answer.text, "flags": flags} | losses


def _without(name: str, one: Sampled) -> Iterator[str]:
    for source, found in one.validation.items():
        if found.why:
            yield f"{f'{name} ' if name else ''}step {one.step}: {source}: {found.why}"


def _shown(value: Any) -> Any:
    """As a person reads it: nothing in a text moves the cursor."""
    if isinstance(value, float):
        return f"{value:.4f}"
    if not isinstance(value, str):
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)


VERB = Verb(
    name="sample",
    usage="DIR",
    summary="texts from a run's checkpoints; --prompt TEXT makes one now",
    run=sample,
)
