"""``launch sample``: texts from the checkpoints of a run, saved ones or one made now."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.cli.parser import add_table_options, new_parser, parse
from launcher.cli.verb import Verb
from launcher.errors import ConfigError, ReadError, WorkError

if TYPE_CHECKING:
    from launcher.results.run_folder import RunFolder
    from launcher.results.samples import Sampled

DESCRIPTION = """Texts that were generated from the checkpoints of a run, what is wrong with them,
and the validation loss of each source. With --prompt nothing is kept: the newest checkpoint goes on
with that text now, on this machine's cores."""

FOLDED = ("prompt", "text", "why")
"""Columns of the table whose cells take several lines."""


def sample(words: Sequence[str]) -> int:
    """Print the samples of runs, or make one."""
    from launcher.spec.sampling import TOKENS

    parser = new_parser("sample", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="of a run; without --prompt also of many")
    parser.add_argument("--step", type=int, metavar="N", help="of this checkpoint alone")
    parser.add_argument("--prompt", action="append", metavar="TEXT", help="go on with it now")
    parser.add_argument("--tokens", type=int, metavar="N", help=f"to generate at most; {TOKENS}")
    parser.add_argument(
        "--cache",
        metavar="DIR",
        help="of tokenised data, where the run had another one than <output>/.cache",
    )
    parser.add_argument("--card", action="store_true", help="use a card: nothing may train on it")
    add_table_options(parser)
    options = parse(parser, words)
    path = Path(options.folder).expanduser()
    if options.prompt is None:
        _check_unused(options)
        _print(_saved(path, options.step), options)
    else:
        _print([("", _generate(path, options))], options)
    return 0


def _check_unused(options: argparse.Namespace) -> None:
    for name in ("tokens", "cache", "card"):
        if getattr(options, name) not in (None, False):
            raise ConfigError(f"--{name}: has no meaning without --prompt")


def _saved(path: Path, step: int | None) -> list[tuple[str, "Sampled"]]:
    """Return the samples below a folder, with the name of the run where there are several."""
    from launcher.results.find import some_runs

    folders = some_runs(path)
    several = len(folders) > 1
    saved = [
        (str(run.path.relative_to(path)) if several else "", sampled)
        for run in folders
        for sampled in _read(run)
    ]
    if not saved:
        raise ConfigError(
            f"{path}: no samples; sampling.prompts=[TEXT] keeps some of each"
            " checkpoint, --prompt TEXT makes one now"
        )
    selected = [(name, sampled) for name, sampled in saved if step in (None, sampled.step)]
    if not selected:
        steps = _list_steps(sampled.step for _, sampled in saved)
        raise ConfigError(f"--step: no samples of step {step}; {steps}")
    return selected


def _read(run: "RunFolder") -> Iterator["Sampled"]:
    from launcher.results import samples

    for path in run.sample_files():
        try:
            yield samples.read(path)
        except ReadError as error:
            print(f"launch: left out: {error}", file=sys.stderr)


def _generate(path: Path, options: argparse.Namespace) -> "Sampled":
    """Generate texts from a checkpoint for the prompts of the command line."""
    from launcher.campaign import preflight
    from launcher.results import samples

    run = _only_run(path)
    words = _command(run, _checkpoint(run, options.step), options)
    preflight.check_installed("megatron")
    env = {**os.environ, "MEGALAUNCH_PARENT": str(os.getpid())}
    if not options.card:
        env["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "sampled.json"
        process = subprocess.run(
            [*words, "--output", str(output)],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode or not output.exists():
            lines = (process.stdout + process.stderr).splitlines()
            raise WorkError(lines[-1] if lines else f"sampling ended with {process.returncode}")
        return samples.read(output)


def _command(run: "RunFolder", step: int, options: argparse.Namespace) -> list[str]:
    from launcher.decode import encode
    from launcher.spec.sampling import TOKENS, Sampling

    tokens = TOKENS if options.tokens is None else options.tokens
    if tokens < 1:
        raise ConfigError(f"--tokens: {tokens} is below 1")
    sampling = Sampling(prompts=tuple(options.prompt), tokens=tokens, validation_sequences=0)
    default = os.environ.get("MEGALAUNCH_CACHE") or run.path.resolve().parents[1] / ".cache"
    cache = Path(options.cache or default).expanduser()
    words = [sys.executable, "-P", "-m", "launcher.workers.sampling.sample"]
    words += ["--folder", str(run.path), "--cache", str(cache)]
    return [*words, "--step", str(step), "--sampling", json.dumps(encode(sampling))]


def _only_run(path: Path) -> "RunFolder":
    from launcher.results.find import some_runs

    folders = some_runs(path)
    trained = [run for run in folders if run.newest_checkpoint()]
    if trained and all(run.spec().stage for run in trained):
        return max(trained, key=lambda run: run.checkpoint_steps()[-1])  # stages of one model
    if len(folders) > 1:
        raise ConfigError(f"--prompt: {len(folders)} runs are below {path}; name the folder of one")
    return folders[0]


def _checkpoint(run: "RunFolder", step: int | None) -> int:
    """Return the step of the checkpoint to use: ``step``, or the newest one."""
    steps = run.checkpoint_steps()
    if not steps:
        raise ConfigError(f"{run.path}: no checkpoint in this run; checkpoint_every makes some")
    if step not in (None, *steps):
        raise ConfigError(f"--step: no checkpoint of step {step}; {_list_steps(steps)}")
    return steps[-1] if step is None else step


def _list_steps(steps: Iterable[int]) -> str:
    return f"there are {', '.join(map(str, sorted(set(steps))))}"


def _print(samples_by_run: Sequence[tuple[str, "Sampled"]], options: argparse.Namespace) -> None:
    from analysis import table

    rows = [row for name, sampled in samples_by_run for row in _rows(name, sampled)]
    if options.format == "table":
        rows = [{name: _printable(value) for name, value in row.items()} for row in rows]
    frame = table.plain(rows, options.sort)
    frame.attrs |= {"folded": FOLDED, "wide": 160}
    frame.attrs["notes"] = [
        note for name, sampled in samples_by_run for note in _missing_losses(name, sampled)
    ]
    table.put(frame, options.format, options.output)


def _rows(name: str, sampled: "Sampled") -> Iterator[dict[str, Any]]:
    """Rows of one checkpoint: one for each prompt, or one where there is none."""
    checkpoint = {"run": name or None, "step": sampled.step}
    losses = {f"loss {source}": result.loss for source, result in sampled.validation.items()}
    if not sampled.prompts:
        yield checkpoint | dict.fromkeys(("prompt", "text", "flags")) | losses
    for answer in sampled.prompts:
        flags = ", ".join(answer.flags) or None
        yield checkpoint | {"prompt": answer.prompt, "text": answer.text, "flags": flags} | losses


def _missing_losses(name: str, sampled: "Sampled") -> Iterator[str]:
    """Notes on the sources without a validation loss, with the reason."""
    for source, result in sampled.validation.items():
        if result.why:
            yield f"{f'{name} ' if name else ''}step {sampled.step}: {source}: {result.why}"


def _printable(value: Any) -> Any:
    """Round a number for reading, and escape characters that would move the cursor."""
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
