"""The log files of workers: `out/logs/worker-N.log`, with all that the processes print."""

import faulthandler
import logging
import os
import socket
import sys
import time
from pathlib import Path

from configs.terminal import log_to_terminal, prepare_terminal
from data_prep.files import append_text

FOLDER = "logs"


def worker_log(out: Path, worker: int) -> Path:
    """The log file of a worker."""
    return out / FOLDER / f"worker-{worker}.log"


def log_to_file(out: Path, worker: int) -> None:
    """Let this process write its output, errors and log records to the log file of a worker, at its end.

    Raises UserError if the file cannot be written.
    """
    path = worker_log(out, worker)
    path.parent.mkdir(parents=True, exist_ok=True)
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    append_text(path, f"--- {started} process {os.getpid()} on {socket.gethostname()}\n")
    # The file descriptors, not only Python's streams: libraries in C write to them too.
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor in (1, 2):
        os.dup2(handle, descriptor)
    os.close(handle)
    faulthandler.enable()  # after a crash in C code, the log shows where Python was
    prepare_terminal()
    log_to_terminal(logging.INFO)
