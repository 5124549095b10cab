"""``launch report``: one HTML file about runs, sweeps and curricula."""

import math
from collections.abc import Sequence
from pathlib import Path

from launcher.cli.parser import add_format_option, new_parser, parse
from launcher.cli.verb import Verb
from launcher.errors import ConfigError
from launcher.files import json_text

DESCRIPTION = """One HTML file, which needs no network, about what is below folders: charts, a table
of every point to sort and filter, what was lost and why, the timeline of a run in stages."""

SUFFIXES = (".html", ".htm")
"""Suffixes that open in a browser; a PDF is printed from there."""


def report(words: Sequence[str]) -> int:
    """Write a report, and print its path."""
    parser = new_parser("report", DESCRIPTION)
    parser.add_argument(
        "folders",
        metavar="DIR",
        nargs="+",
        help="of a run, of a sweep, of a curriculum, or of many",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE.html",
        help="else DIR-report.html in this folder, or report.html",
    )
    parser.add_argument(
        "--price",
        type=float,
        metavar="PER_GPU_HOUR",
        help="of one GPU hour; else what the sweep said",
    )
    add_format_option(parser)
    options = parse(parser, words)
    names = [Path(folder).expanduser().resolve().name for folder in options.folders]
    path = _output(options.output, names)
    if options.price is not None and not (math.isfinite(options.price) and options.price >= 0):
        raise ConfigError(f"--price: {options.price:g} is no price")

    import analysis
    from analysis.report import Options, write
    from launcher.campaign import workspace

    runs = analysis.load(*options.folders)
    price = runs.price_per_gpu_hour if options.price is None else options.price
    report_options = Options(title=", ".join(names), price=price, commit=workspace.commit())
    write(runs, path, report_options)
    size = path.stat().st_size
    as_json = json_text({"path": str(path), "bytes": size})
    print(as_json if options.format == "json" else f"{path}  {size / 1e6:.1f} MB")
    return 0


def _output(output: str | None, names: Sequence[str]) -> Path:
    """Path of the report. Raises ConfigError where nothing can be written."""
    if output is None:
        name = names[0] if len(names) == 1 else ""
        return Path(f"{name}-report.html" if name else "report.html")
    path = Path(output).expanduser()
    if path.is_dir():
        raise ConfigError(f"--output: {path} is a folder")
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--output: a report is HTML: {path.name} does not end in .html")
    if not path.parent.is_dir():
        raise ConfigError(f"--output: no folder {path.parent} to write {path.name} in")
    return path


VERB = Verb(
    name="report",
    usage="DIR...",
    summary="one HTML file with the charts and the table of all that",
    run=report,
)
