"""Fixtures that all tests share."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from configs.terminal import PrintableFormatter

# Elsewhere each run tries other examples; CI must say the same of the same commit.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


# A shell starts background commands with SIGINT ignored, and every process that a test starts inherits that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """Commands let log records go to stderr, which pytest replaces for each test and closes after it."""
    level = logging.root.level
    yield
    logging.root.setLevel(level)
    for handler in logging.root.handlers[:]:
        if isinstance(handler.formatter, PrintableFormatter):
            logging.root.removeHandler(handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real material of others, which does not lie in the repository."""
    folder = os.environ.get("REFERTRACK_SHARED_DATA", "")
    if not folder:
        pytest.skip("REFERTRACK_SHARED_DATA is not set")
    if not Path(folder).is_dir():
        pytest.fail(f"REFERTRACK_SHARED_DATA={folder}: no such folder")
    return Path(folder)
