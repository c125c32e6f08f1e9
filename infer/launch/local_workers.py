"""`launch=local`: workers that are processes of this machine, each with a GPU of its own if there are GPUs.

The coordinator and a worker are connected by a pipe. A worker ends when the coordinator has ended, in
whatever way, so no process is left that keeps a GPU.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from configs.errors import UserError
from configs.launch.processes import end_with_parent
from configs.launch.signals import STOP_SIGNALS, stop_signals_blocked
from configs.plugins import import_inherited_plugins
from infer.config import InferSettings
from infer.launch.logs import log_to_file, worker_log
from infer.launch.protocol import Command, Died, Event, Refused, Stop

STOP_SECONDS = 20.0  # in which a worker must end after SIGTERM
Environment = Mapping[str, str]


@dataclass
class _Started:
    """A started process, and the coordinator's end of its pipe."""

    process: BaseProcess
    connection: Connection


class LocalWorkers:
    """Workers that are processes of this machine. Implements `infer.launch.protocol.Workers`.

    `environments` holds, for each worker, the variables that its process gets in addition. At the end of the
    `with` block all processes have ended.
    """

    def __init__(
        self,
        settings: InferSettings,
        environments: Sequence[Environment],
        context: BaseContext | None = None,
    ) -> None:
        self._settings, self._environments = settings, environments
        # Spawned, not forked: a fork of a process with threads (torch's, OpenCV's) may hang.
        self._context: Any = context or multiprocessing.get_context("spawn")
        self._workers: dict[int, _Started] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for started in self._workers.values():
                started.process.terminate()  # SIGTERM: the worker removes its half-written files
            self._join()
        finally:  # also after a second Ctrl-C, which ends the waiting
            for started in self._workers.values():
                started.process.kill()
                started.process.join()
                started.connection.close()

    def start(self, worker: int) -> None:
        """See `Workers`."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_run_worker,
            args=(self._settings, worker, theirs, dict(self._environments[worker])),
            name=f"worker {worker}",
        )
        with stop_signals_blocked():  # until the process has set its own handlers
            process.start()
        # Only the worker holds its end now, so the pipe shows when it has ended.
        theirs.close()
        self._workers[worker] = _Started(process, ours)

    def send(self, worker: int, command: Command) -> None:
        """See `Workers`."""
        with suppress(OSError):  # it has died, which `wait` reports
            self._workers[worker].connection.send(command)

    def wait(self) -> list[tuple[int, Event]]:
        """See `Workers`."""
        by_connection = {started.connection: worker for worker, started in self._workers.items()}
        by_sentinel = {started.process.sentinel: worker for worker, started in self._workers.items()}
        ready = {
            by_connection[each] if isinstance(each, Connection) else by_sentinel[each]  # type: ignore[index]
            for each in wait([*by_connection, *by_sentinel])
        }
        return [(worker, event) for worker in sorted(ready) for event in self._events_of(worker)]

    def log_path(self, worker: int) -> str:
        """See `Workers`."""
        return str(worker_log(Path(self._settings.out), worker))

    def _events_of(self, worker: int) -> list[Event]:
        """The events that a worker has sent, and its death after them."""
        started, events = self._workers[worker], list[Event]()
        # The state of the process is read first: what it has sent before its death is in the pipe by then.
        is_alive = started.process.is_alive()
        try:
            while started.connection.poll():
                events.append(started.connection.recv())
        # The pipe is closed, or ends within a message: the process was killed while it sent it.
        except (EOFError, OSError):
            is_alive = False
        if not is_alive:
            started.process.join()
            started.connection.close()
            del self._workers[worker]
            events.append(Died(_how_it_ended(started.process.exitcode)))
        return events

    def _join(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        for started in self._workers.values():
            started.process.join(max(0.0, deadline - time.monotonic()))


class PipeChannel:
    """The end of a worker's pipe. Implements `infer.launch.protocol.Channel`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # a connection is not made for several threads

    def receive(self, wait: bool) -> Command | None:
        """See `Channel`. Where the coordinator has ended, there is nothing left to do."""
        try:
            if not wait and not self._connection.poll():
                return None
            command: Command = self._connection.recv()
        except (EOFError, OSError):
            return Stop()
        return command

    def send(self, event: Event) -> None:
        """See `Channel`."""
        with suppress(OSError), self._lock:  # the coordinator has ended, and this process will
            self._connection.send(event)


def _how_it_ended(exitcode: int | None) -> str:
    """The end of a process in words. multiprocessing gives the exit code -N after signal N."""
    if exitcode is not None and exitcode < 0:
        hint = ", perhaps for lack of memory" if exitcode == -signal.SIGKILL else ""
        return f"was ended by {signal.Signals(-exitcode).name}{hint}"
    return f"ended with status {exitcode}"


def _run_worker(
    settings: InferSettings, worker: int, connection: Connection, environment: dict[str, str]
) -> None:
    """Run in the started process: prepare it, then track until the coordinator says stop."""
    # 1. A terminal sends Ctrl-C to all processes; the coordinator decides what happens then. SIGTERM ends the
    #    process as an exception, which removes half-written files.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    threading.Thread(target=end_with_parent, daemon=True).start()
    # 2. The GPU of this worker is chosen before torch looks for GPUs.
    os.environ.update(environment)
    channel = PipeChannel(connection)
    try:
        log_to_file(Path(settings.out), worker)
    except UserError as fault:
        channel.send(Refused(str(fault)))
        return
    import_inherited_plugins()
    # 3. Load the models and track.
    from infer.launch.worker import serve  # imports torch

    serve(settings, worker, channel)
    # Nothing is left to do, and torch takes a while to tear itself down.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
