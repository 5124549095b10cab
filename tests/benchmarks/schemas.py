"""Print docs/json.md's tables: every key of ``--format json``, from the schemas.

python -m tests.benchmarks.schemas
"""

from launcher.cli.schemas import tables

if __name__ == "__main__":
    print(tables())
