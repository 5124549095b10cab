"""``launch sync``: upload the W&B runs that were kept in their folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli.parser import add_format_option, new_parser, parse
from launcher.cli.verb import Verb
from launcher.files import json_text

if TYPE_CHECKING:
    from launcher.cli.uploads import OfflineRun

Row = dict[str, str | None]

DESCRIPTION = """Upload the W&B runs that were kept in their folders, one line each. What is
uploaded is not uploaded again."""


def sync(words: Sequence[str]) -> int:
    """Upload the W&B runs that were kept offline; return 1 where one could not be."""
    parser = new_parser("sync", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="of a run, of a sweep, or of many")
    parser.add_argument("--dry-run", action="store_true", help="only list them")
    add_format_option(parser)
    options = parse(parser, words)

    from launcher.cli import uploads

    path = Path(options.folder).expanduser()
    runs = uploads.offline_runs(path)
    as_json = options.format == "json"
    if runs and not options.dry_run:
        uploads.check()
    rows = []
    for run in runs:
        row = _sync(run, str(run.folder.relative_to(path)), options.dry_run)
        rows.append(row)
        if not as_json:
            print(_line(row), flush=True)
    if as_json:
        print(json_text(rows))
    elif not rows:
        print("nothing to upload")
    return int(any(row["state"] == "failed" for row in rows))


def _sync(run: "OfflineRun", name: str, dry_run: bool) -> Row:
    """Upload a run, and return what became of it."""
    from launcher.cli import uploads

    reason = None
    if run.busy:
        state = "running"
    elif dry_run:
        state = "to upload"
    else:
        reason = uploads.upload(run)
        state = "failed" if reason else "uploaded"
    return {"run": name, "state": state, "cause": reason}


def _line(row: Row) -> str:
    cause = f": {row['cause']}" if row["cause"] else ""
    return f"{row['state']:9} {row['run']}{cause}"


VERB = Verb(
    name="sync",
    usage="DIR",
    summary="upload the W&B runs that were kept in their folders",
    run=sync,
)
