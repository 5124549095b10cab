"""A plugin of pytest: no test begins after a moment, ``-p tests.gpu.time_left --until SECONDS``."""

import time

import pytest

REASON = "no time left"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the moment, in seconds since 1970."""
    parser.addoption("--until", type=float, required=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that would begin too late."""
    if time.time() > item.config.getoption("--until"):
        pytest.skip(REASON)
