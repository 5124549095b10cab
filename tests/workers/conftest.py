"""One dataset cache for all tests: tokenising is not what most of them are about."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of datasets that the whole session shares."""
    return tmp_path_factory.mktemp("cache")
