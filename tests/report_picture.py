"""A picture of a report, for the README: of its first screen, by headless Chromium.

python -m tests.report_picture DIR FILE.png      # from the root of the checkout; make chromium
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import analysis
from analysis.report import Options, write

WIDTH, HEIGHT = 1200, 1000


def main() -> None:
    """Write the picture."""
    runs, picture = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        write(analysis.load(runs), page, Options(title=Path(runs).name))
        subprocess.run(
            [
                shutil.which("chromium") or "chromium",
                "--headless=new",
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--virtual-time-budget=20000",
                f"--window-size={WIDTH},{HEIGHT}",
                f"--screenshot={Path(picture).resolve()}",
                page.as_uri(),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
        )
    print(f"{picture}  {Path(picture).stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
