"""``launch sync``: upload the W&B runs that were kept in their folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli.parser import new_parser, parse
from launcher.cli.verb import Verb

if TYPE_CHECKING:
    from launcher.cli.uploads import OfflineRun

DESCRIPTION = """Upload the W&B runs that were kept in their folders, one line each. What is
uploaded is not uploaded again."""


def sync(words: Sequence[str]) -> int:
    """Upload the W&B runs that were kept offline; return 1 where one could not be."""
    parser = new_parser("sync", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="of a run, of a sweep, or of many")
    parser.add_argument("--dry-run", action="store_true", help="only list them")
    options = parse(parser, words)

    from launcher.cli import uploads

    path = Path(options.folder).expanduser()
    runs = uploads.offline_runs(path)
    if not runs:
        print("nothing to upload")
        return 0
    if not options.dry_run:
        uploads.check()
    codes = [_sync(run, str(run.folder.relative_to(path)), options.dry_run) for run in runs]
    return max(codes)


def _sync(run: "OfflineRun", name: str, dry_run: bool) -> int:
    if run.busy:
        print(f"running   {name}", flush=True)
        return 0
    if dry_run:
        print(f"to upload {name}")
        return 0
    from launcher.cli import uploads

    reason = uploads.upload(run)
    print(f"failed    {name}: {reason}" if reason else f"uploaded  {name}", flush=True)
    return 1 if reason else 0


VERB = Verb(
    name="sync",
    usage="DIR",
    summary="upload the W&B runs that were kept in their folders",
    run=sync,
)
