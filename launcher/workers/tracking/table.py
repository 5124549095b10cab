"""Log a table as a W&B run: ``python -m launcher.workers.tracking.table``, its rows on stdin.

Where W&B cannot be reached, the run is kept below ``--folder`` for ``wandb sync``.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import wandb

from launcher.results import tracking
from launcher.workers.tracking.tracker import settings


def main() -> None:
    """Log the table, and print its URL or its folder."""
    options = _options()
    rows = json.load(sys.stdin)
    url = tracking.server()
    requested = os.environ.get("WANDB_MODE")
    reached = tracking.has_key(url) and tracking.answers(url)
    mode: Any = requested or ("online" if reached else "offline")
    run = wandb.init(
        project=options.project,
        name=options.name,
        job_type="table",
        mode=mode,
        dir=str(options.folder),
        settings=settings(wandb),
    )
    columns = list(rows[0])
    # A column of W&B's has one type; values of others become text.
    data = [[_plain(row[name]) for name in columns] for row in rows]
    run.log({"trials": wandb.Table(columns=columns, data=data, allow_mixed_types=True)})
    run.finish()
    print(run.url or f"kept in {Path(run.settings.sync_dir)}; wandb sync uploads it")


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | None) else str(value)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="launcher.workers.tracking.table", description=__doc__)
    parser.add_argument("--project", required=True, help="W&B project")
    parser.add_argument("--name", required=True, help="of the W&B run")
    parser.add_argument("--folder", type=Path, required=True, help="what W&B keeps goes below it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
