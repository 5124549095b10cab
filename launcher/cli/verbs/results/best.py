"""``launch best``: the best run below a folder, as the file that starts the real run."""

import shlex
import sys
from collections.abc import Sequence

from launcher.cli.parser import add_format_option, new_parser, parse
from launcher.cli.verb import Verb
from launcher.files import json_text

DESCRIPTION = """\
The best run below a folder as a file that launch --config starts the real run from:
model, layout, cluster, batch, data and optimizer as they were measured, and for train.tokens the
steps that they take. With --as it is in the words of a program of yours, to be started by hand."""


def best(words: Sequence[str]) -> int:
    """Print the file, or write it."""
    from launcher.programs import program as programs
    from launcher.programs import render

    parser = new_parser("best", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", nargs="+", help="of a sweep, of a run, or of many")
    parser.add_argument(
        "--by",
        metavar="COLUMN",
        help="what is best in it, of memory, time and loss the least (default: sweep.goal)",
    )
    parser.add_argument(
        "--as",
        dest="program",
        metavar="PROGRAM",
        help=f"in the words of another program: {', '.join(programs.names())}",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of stdout")
    add_format_option(parser, "yaml")
    options = parse(parser, words)

    import analysis
    from analysis import table

    program = programs.load(options.program) if options.program else None
    runs = analysis.load(*options.folder)
    if options.format == "json":
        as_program = render.document(program, runs.best_spec(options.by)) if program else None
        document = runs.best_document(options.by) | {"program": as_program}
        table.write(json_text(document), options.output)
        return 0
    if program:
        spec = runs.best_spec(options.by)
        table.write(render.text(program, spec).rstrip("\n"), options.output)
        if program.style == "json":
            print(*render.notes(program, spec), sep="\n", file=sys.stderr)
        return 0
    text = runs.best_config(options.by)
    table.write(text.rstrip("\n"), options.output)
    if options.output:
        command = f"launch --config {shlex.quote(options.output)} train.steps=N checkpoint_every=N"
        print(command, file=sys.stderr)
    return 0


VERB = Verb(
    name="best",
    usage="DIR",
    summary="the fastest run there, as a file for launch --config",
    run=best,
)
