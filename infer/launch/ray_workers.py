"""`launch=ray`: workers that are actors of a Ray cluster, on any number of machines that share a disk.

Ray (https://docs.ray.io) starts the processes where GPUs are free, and reports their deaths and those of
machines. Which worker tracks what is decided by the coordinator, as for local processes. The actors end with
the process that has started them, also if that is killed.
"""

import logging
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from configs.errors import UserError
from configs.import_path import safe_path_variables
from configs.plugins import import_inherited_plugins
from configs.terminal import LONGEST_NAME, shortened
from data_prep.console import one_line
from infer.config import InferSettings
from infer.launch.config import RayLaunchConfig
from infer.launch.logs import log_to_file, worker_log
from infer.launch.protocol import Command, Died, Event

# Variables of the coordinator that its workers get too, by the beginnings of their names.
PASSED_ON = ("HF_", "TRANSFORMERS_", "TORCH", "REFERTRACK_")
CONCURRENT_CALLS = 4  # of an actor: one waits for events, others bring commands
LOOK_EVERY = 10.0  # seconds between two looks at what the cluster still has
GIVE_UP_AFTER = 60.0  # seconds without a machine on which a worker could run
END_SECONDS = 10.0  # in which killed actors end


@contextmanager
def ray_cluster(settings: InferSettings) -> Iterator[None]:
    """A block in which this process is connected to the Ray cluster of the settings.

    Raises UserError if the cluster cannot be reached.
    """
    # Ray sends statistics of its use to its makers unless this variable says otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    launch = _launch(settings)
    # Ray replaces this handler by one with another exit status.
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=launch.address,
            include_dashboard=False,
            log_to_driver=False,  # workers have log files of their own
            logging_level=logging.ERROR,
            runtime_env={"env_vars": _worker_environment()},
        )
    except (ConnectionError, ValueError, RuntimeError) as fault:
        raise UserError(
            f"launch.address={launch.address}: Ray cannot be started or reached ({fault})"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        ray.shutdown()


def count_ray_workers(settings: InferSettings) -> int:
    """How many workers the machines of the cluster suffice for at once, at least 1."""
    import ray

    cpus, gpus = _reserved(settings)
    count = 0
    for node in ray.nodes():
        has = node["Resources"] if node["Alive"] else {}
        fits = [int(has.get(name, 0) / need) for name, need in (("CPU", cpus), ("GPU", gpus)) if need]
        count += min(fits, default=1)
    return max(count, 1)


class RayWorkers:
    """Workers that are actors of the connected Ray cluster. Implements `infer.launch.protocol.Workers`.

    At the end of the `with` block all of them have ended.
    """

    def __init__(self, settings: InferSettings) -> None:
        import ray

        self._ray, self._settings = ray, settings
        cpus, gpus = _reserved(settings)
        # The coordinator starts a worker again, so Ray must not.
        self._actor = ray.remote(RayWorker).options(
            num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_concurrency=CONCURRENT_CALLS
        )
        self._actors: dict[int, Any] = {}
        self._calls: dict[Any, int] = {}  # the open call for events of each worker
        self._answered: set[int] = set()  # workers whose process has answered a call

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)
        if self._calls:
            self._ray.wait(list(self._calls), num_returns=len(self._calls), timeout=END_SECONDS)

    def start(self, worker: int) -> None:
        """See `Workers`."""
        # As bytes: classes of plugins can be unpickled only after the worker has imported the plugins.
        actor = self._actor.remote(pickle.dumps(self._settings), worker, str(Path.cwd()))
        self._actors[worker] = actor
        self._calls[actor.events.remote()] = worker

    def send(self, worker: int, command: Command) -> None:
        """See `Workers`."""
        if worker in self._actors:
            self._actors[worker].take.remote(command)

    def wait(self) -> list[tuple[int, Event]]:
        """See `Workers`. Raises UserError if no machine is left that suffices for a worker."""
        give_up_at = time.monotonic() + GIVE_UP_AFTER
        while True:
            ready, _ = self._ray.wait(list(self._calls), timeout=LOOK_EVERY)
            if ready:
                # All that are ready, not only the first.
                ready, _ = self._ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
                found = [(self._calls[call], self._events_of(call)) for call in ready]
                return [(worker, event) for worker, events in found for event in events]
            if self._answered or self._has_room():
                give_up_at = time.monotonic() + GIVE_UP_AFTER
            elif time.monotonic() > give_up_at:
                raise UserError(
                    "launch=ray: no machine of the cluster has the CPUs and GPUs that a process reserves; "
                    "finished tracks are kept: run the same command again, or lower launch.gpus and "
                    "launch.cpus"
                )

    def log_path(self, worker: int) -> str:
        """See `Workers`."""
        return str(worker_log(Path(self._settings.out), worker))

    def _events_of(self, call: Any) -> list[Event]:
        """The events that a finished call has brought; the death of the worker if the call has failed."""
        worker = self._calls.pop(call)
        actor = self._actors[worker]
        try:
            events: list[Event] = self._ray.get(call)
        except self._ray.exceptions.RayError as fault:
            # A worker that only cannot be reached for a while would go on beside the one in its place.
            self._ray.kill(actor)
            del self._actors[worker]
            self._answered.discard(worker)
            return [Died(f"ended ({_cause(fault)})")]
        self._answered.add(worker)
        self._calls[actor.events.remote()] = worker
        return events

    def _has_room(self) -> bool:
        """Whether a worker that waits for its start fits on a machine of the cluster."""
        cpus, gpus = _reserved(self._settings)
        return any(
            node["Alive"]
            and node["Resources"].get("CPU", 0) >= cpus
            and node["Resources"].get("GPU", 0) >= gpus
            for node in self._ray.nodes()
        )


class RayWorker:
    """The actor: it tracks in a thread, while calls bring commands and fetch events.

    Implements `infer.launch.protocol.Channel` for the tracking thread.
    """

    def __init__(self, settings: bytes, worker: int, folder: str) -> None:
        """`settings` are pickled; `folder` is that in which the run was started, on the shared disk."""
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(settings, worker, folder), daemon=True).start()

    # ---- calls of the coordinator ----

    def events(self) -> list[Event]:
        """The events since the last call. Waits for the first one."""
        events = [self._events.get()]
        with suppress(queue.Empty):
            while True:
                events.append(self._events.get_nowait())
        return events

    def take(self, command: Command) -> None:
        """Take a command for the tracking thread."""
        self._commands.put(command)

    # ---- the channel of the tracking thread ----

    def receive(self, wait: bool) -> Command | None:
        """See `Channel`."""
        try:
            return self._commands.get(block=wait)
        except queue.Empty:
            return None

    def send(self, event: Event) -> None:
        """See `Channel`."""
        self._events.put(event)

    def _run(self, pickled: bytes, worker: int, folder: str) -> None:
        """Prepare the process and track until the coordinator says stop. Runs in a thread."""
        try:
            _enter(folder)
            import_inherited_plugins()
            settings: InferSettings = pickle.loads(pickled)
            log_to_file(Path(settings.out), worker)
            from infer.launch.worker import serve  # imports torch

            serve(settings, worker, self)
        except BaseException:
            # An exception would end only this thread, and the coordinator would wait for ever.
            traceback.print_exc()
            os._exit(1)


def _enter(folder: str) -> None:
    """Relative paths of the settings are those of the folder in which the run was started."""
    os.chdir(folder)


def _reserved(settings: InferSettings) -> tuple[float, float]:
    """The CPUs and GPUs that a worker reserves."""
    import ray

    launch = _launch(settings)
    if launch.gpus is not None:
        return launch.cpus, launch.gpus
    has_gpus = ray.cluster_resources().get("GPU", 0) > 0
    return launch.cpus, float(has_gpus and settings.device != "cpu")


def _worker_environment() -> dict[str, str]:
    """The variables of workers: they import from the same checkout, and find the same plugins and models."""
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    return {**passed_on, **safe_path_variables(os.environ)}


def _launch(settings: InferSettings) -> RayLaunchConfig:
    assert isinstance(settings.launch, RayLaunchConfig)
    return settings.launch


def _cause(fault: BaseException) -> str:
    """Of Ray's message, which has many lines, the one that names the cause."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    causes = [line for line in lines if "dead because" in line]
    return shortened(one_line([*causes, *lines, type(fault).__name__][0]), LONGEST_NAME * 2)
