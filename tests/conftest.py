"""Fixtures that all tests share."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from benchmarks.forked_toolkit import ForkedToolkit
from configs.terminal import PrintableFormatter
from data_prep.votsr import toolkit
from tests.forkserver import FORKSERVER

# Elsewhere each run tries other examples; CI must say the same of the same commit.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


# Nothing here is compiled. DeepSpeed decorates functions with `torch.compile`, which imports Inductor for
# seconds in each process that is launched.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

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


@pytest.fixture
def forked_toolkit(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The VOT toolkit runs in a forked process, because importing it takes seconds.

    A test that is marked with `toolkit_process` starts it as users do.
    """
    if request.node.get_closest_marker("toolkit_process") is None:
        monkeypatch.setattr(toolkit, "subprocess", ForkedToolkit(FORKSERVER.get_start_method()))


@pytest.fixture(scope="module")
def without_plots() -> Iterator[None]:
    """No evaluation of fine-tuning draws its plots, which takes longer than to evaluate tiny models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.sft.evaluator.Evaluator.draw", lambda *_: None)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real material of others, which does not lie in the repository."""
    folder = os.environ.get("REFERTRACK_SHARED_DATA", "")
    if not folder:
        pytest.skip("REFERTRACK_SHARED_DATA is not set")
    if not Path(folder).is_dir():
        pytest.fail(f"REFERTRACK_SHARED_DATA={folder}: no such folder")
    return Path(folder)
