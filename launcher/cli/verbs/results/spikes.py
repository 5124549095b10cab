"""``launch spikes``: events of the spike guard in losses that were logged anywhere."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.cli.parser import add_table_options, new_parser, parse
from launcher.cli.verb import Verb
from launcher.decode import decode, encode
from launcher.errors import ConfigError
from launcher.files import json_text

if TYPE_CHECKING:
    from analysis.alarms import SpikeVerdict
    from analysis.loading.series import Series
    from launcher.spec.spike_guard import SpikeGuard

DESCRIPTION = """Spikes of loss and gradient norm in logged series, found as training would have
found them, and what the guard would have done about them."""


def spikes(words: Sequence[str]) -> int:
    """Print the events of loss series."""
    parser = new_parser("spikes", DESCRIPTION)
    parser.add_argument(
        "paths",
        metavar="FILE.csv|DIR",
        nargs="+",
        help="columns iteration or step, and lm_loss, loss or grad_norm, as trainers, W&B and"
        " TensorBoard export them; a folder of such files; or the folder of a run",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE.csv",
        help="columns file, start_iter, end_iter: print also how many of these"
        " events were found, and the alarms beyond them",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting of the guard, as in docs/spikes.md",
    )
    add_table_options(parser)
    options = parse(parser, words)
    guard = _guard(options.set)

    from analysis.alarms import judge, read_labels

    labels = read_labels(Path(options.labels).expanduser()) if options.labels else None
    verdicts = [
        judge(series, guard, None if labels is None else labels.get(series.name, []))
        for series in _all_series(options.paths)
    ]
    _print_unmatched_labels(labels or {}, verdicts)
    _print_skipped_lines(verdicts)
    _print(verdicts, guard, options)
    _print_short_series(verdicts, guard)
    return 0


def _guard(words: Sequence[str]) -> "SpikeGuard":
    import yaml

    from launcher.spec.spike_guard import SpikeGuard

    data: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"--set: {word!r} is not KEY=VALUE")
        try:
            data[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set: {word!r} is no YAML") from error
    guard = decode(SpikeGuard, data, "spike_guard")
    guard.check()
    return guard


def _all_series(paths: Sequence[str]) -> "Iterator[Series]":
    """Read the series of files and folders. Raises ConfigError where one of these has none."""
    from analysis.loading.series import read

    for word in paths:
        path = Path(word).expanduser()
        if path.is_dir():
            yield from _series_below(path)
        else:
            yield from read(path, path.name)


def _series_below(path: Path) -> "Iterator[Series]":
    """Read the series below a folder: CSV files with the columns, and runs with metrics."""
    from analysis.loading.series import read
    from launcher.results.find import runs

    files = {file.name: file for file in sorted(path.glob("*.csv"))}
    files |= {
        str(run.path.relative_to(path)): run.metrics
        for run in runs(path, foreign=True)
        if run.metrics.exists() and run.path != path
    }
    from launcher.results.run_folder import RunFolder

    metrics = RunFolder(path).metrics
    if metrics.exists():
        files[path.name] = metrics
    usable = 0
    for name, file in files.items():
        try:
            of_file = read(file, name)
        except ConfigError as error:
            print(f"launch: left out: {error}", file=sys.stderr)
            continue
        usable += 1
        yield from of_file
    if not usable:
        raise ConfigError(f"{path}: no series of losses or gradient norms in this folder")


def _print_unmatched_labels(labels: Mapping[str, Any], verdicts: "Sequence[SpikeVerdict]") -> None:
    """Name the labelled series that are not among the input: their labels are not counted."""
    missing = sorted(set(labels) - {verdict.series.name for verdict in verdicts})
    if missing:
        several = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        print(f"launch: --labels: not among the series: {missing[0]}{several}", file=sys.stderr)


def _print_short_series(verdicts: "Sequence[SpikeVerdict]", guard: "SpikeGuard") -> None:
    """Name series in which only what is not finite can be an event: they have no baseline."""
    fewest = guard.window // 2
    short = [verdict.series for verdict in verdicts if len(verdict.series.points) <= fewest]
    if short:
        several = f" and {len(short) - 1} more" if len(short) > 1 else ""
        print(
            f"launch: {short[0].name}{several}: at most {fewest} points, too few for a baseline"
            f" (spike_guard.window {guard.window})",
            file=sys.stderr,
        )


def _print_skipped_lines(verdicts: "Sequence[SpikeVerdict]") -> None:
    for series in (verdict.series for verdict in verdicts):
        if series.skipped:
            count = len(series.skipped)
            lines = f"{count} line{'s' if count > 1 else ''} left out"
            print(f"launch: {series.name}: {lines}; {series.skipped[0]}", file=sys.stderr)


def _print(
    verdicts: "Sequence[SpikeVerdict]", guard: "SpikeGuard", options: argparse.Namespace
) -> None:
    from analysis import alarms, table

    events = [row for verdict in verdicts for row in alarms.alarm_rows(verdict)]
    counts = [alarms.series_row(verdict) for verdict in verdicts]
    if options.format == "json":
        document = {
            "settings": encode(guard),
            "events": events,
            "series": counts,
            "total": alarms.total(verdicts),
        }
        table.write(json_text(document), options.output)
        return
    columns = alarms.columns(labelled=options.labels is not None)
    if options.format != "table":
        rows = table.plain(events, options.sort, columns)
        return table.put(rows, options.format, options.output)
    rounded = table.plain([_rounded(row) for row in events], options.sort, columns)
    parts = [table.render(rounded, "table")] if events else []
    parts.append(table.render(table.plain(_nonzero_columns(counts)), "table"))
    parts.append(_summary(alarms.total(verdicts)))
    table.write("\n\n".join(parts), options.output)


def _nonzero_columns(counts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Drop the columns in which every series has 0, but for a few that are always there."""
    always = ("series", "points", "events", "labelled", "found", "false_alarms")
    names = [name for name in counts[0] if name in always or any(row[name] for row in counts)]
    return [{name: row[name] for name in names} for row in counts]


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Round to four significant digits, which are enough to read."""
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in row.items()
    }


def _summary(sums: Mapping[str, int]) -> str:
    text = (
        f"{sums['points']:,} points: {sums['events']} events, {sums['recovered']} recovered,"
        f" {sums['diverged']} diverged; the guard said skip at {sums['skipped_updates']}"
        f" steps, roll back at {sums['rollbacks']}"
    )
    if "labelled" in sums:
        share = f" ({100 * sums['found'] / sums['labelled']:.1f} %)" if sums["labelled"] else ""
        text += (
            f"\n{sums['found']} of {sums['labelled']} labelled events found{share},"
            f" {sums['false_alarms']} other alarms, {sums['clean_false_alarms']} of these in"
            f" the {sums['clean_series']} series without a label"
        )
    return text


VERB = Verb(
    name="spikes",
    usage="FILE.csv|DIR",
    summary="spikes of losses that were logged anywhere",
    run=spikes,
)
