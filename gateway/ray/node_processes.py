"""What an actor is: processes on its node, which it keeps running and which end when it ends.

Ray calls the methods from threads of its own, so the processes are kept by an event loop in another
one. Each child holds one end of a pipe (`gateway.local.processes.child`): when the actor's process
ends in any way, also because its node's raylet was killed, the child reads EOF, drains and ends.

The constructor starts everything, since Ray calls nothing else when it restarts an actor. It never
raises: an actor whose constructor fails is not restarted again. What goes wrong is in the report,
and is tried again.
"""

import asyncio
import contextlib
import os
import secrets
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hedgerow.common import __version__
from hedgerow.common.errors import ConfigurationError, HedgerowError
from hedgerow.common.machine.private_folder import FILE_MODE, write_privately
from hedgerow.gateway.local.processes.restart_policy import RestartPolicy
from hedgerow.gateway.local.processes.supervisor import Event, Supervisor
from hedgerow.gateway.ray.orders import Order, Place, environment_on, own_settings
from hedgerow.gateway.ray.programs import (
    GATEWAY,
    joining_program,
    kept_name,
    serving_programs,
)
from hedgerow.gateway.ray.slots import claimed_folder

_RETRY_S: Final = 5.0
_NUM_EVENTS: Final = 100
_SETTINGS_FILE: Final = "hedgerow.toml"


@dataclass(frozen=True, slots=True)
class Report:
    """How the processes of an actor are.

    Attributes:
        life: changes when Ray restarts the actor.
        place: where it runs.
        folder: the folder of its processes' data and logs; "" until it has one.
        worker: the name of its worker in the cluster; "" until it has one, and for a gateway.
        pids: the process ids of those that run, by name.
        url: where its gateway answers; "" for a worker.
        trouble: why nothing runs; "" if that is not so.
        events: what has happened since the number that was asked for.
        num_events: what has happened in this life.
        last_words: the last log line of each process.
    """

    life: str
    place: Place
    folder: str
    worker: str
    pids: Mapping[str, int]
    url: str
    trouble: str
    events: tuple[Event, ...]
    num_events: int
    last_words: Mapping[str, str]


class NodeProcesses:
    """Runs what an order says for as long as it lives.

    Args:
        order: what to run.
        place: where this is.
    """

    def __init__(self, order: Order, place: Place) -> None:
        self._order = order
        self._place = place
        self._life = secrets.token_hex(4)
        self._folder = ""
        self._url = ""
        self._trouble = ""
        self._names: list[str] = []
        self._supervisor: Supervisor | None = None
        self._events: deque[Event] = deque(maxlen=_NUM_EVENTS)
        self._num_events = 0
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        write_privately()
        self._thread = threading.Thread(target=self._run, name="processes", daemon=True)
        self._thread.start()

    def report(self, life: str = "", known: int = 0) -> Report:
        """Report on the processes.

        Args:
            life: the life of the last report.
            known: how many events there were in it.
        """
        since = known if life == self._life else 0
        return asyncio.run_coroutine_threadsafe(self._report(since), self._loop).result()

    def stop(self) -> None:
        """Drain the processes; returns when none is left."""
        with contextlib.suppress(RuntimeError):  # they have ended, and the loop is closed
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def kill(self) -> None:
        """Kill the processes at once, if the user will not wait for `stop`."""
        with contextlib.suppress(RuntimeError):  # as above
            self._loop.call_soon_threadsafe(self._kill)

    def _kill(self) -> None:
        if self._supervisor is not None:
            self._supervisor.kill_all()

    async def _report(self, since: int) -> Report:
        supervisor = self._supervisor
        children = {name: supervisor.child(name) for name in self._names if supervisor is not None}
        words = {
            name: " ".join(supervisor.log_tail(name, 1))
            for name in self._names
            if supervisor is not None
        }
        num_new = max(0, self._num_events - since)
        return Report(
            life=self._life,
            place=self._place,
            folder=self._folder,
            worker=kept_name(Path(self._folder)) if self._folder else "",
            pids={name: child.pid for name, child in children.items() if child is not None},
            url=self._url,
            trouble=self._trouble,
            events=tuple(self._events)[-num_new:] if num_new else (),
            num_events=self._num_events,
            last_words=words,
        )

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._live())
        finally:
            self._loop.close()

    async def _live(self) -> None:
        while not self._stopped.is_set():
            try:
                self._check_version()
                own = own_settings(os.environ)
                data = Path(own.get("HEDGEROW_DATA") or self._order.data)
                with claimed_folder(data, self._order.kind) as folder:
                    await self._keep(folder, data, own)
            except (HedgerowError, OSError) as error:
                self._trouble = str(error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), _RETRY_S)

    def _check_version(self) -> None:
        if self._order.version != __version__:
            raise ConfigurationError(
                f"Hedgerow is {__version__} on this node, and {self._order.version} where "
                "`gateway up` runs; install the same version on all nodes"
            )

    async def _keep(self, folder: Path, data: Path, own: Mapping[str, str]) -> None:
        """Start the processes, and keep them running until this is stopped."""
        self._folder = str(folder)
        environment = environment_on(self._order, self._place, own, self._settings_file(folder))
        if self._order.kind == GATEWAY:
            environment = {"HEDGEROW_DATA": str(data), **environment}
            programs, self._url = serving_programs(self._order, self._place, environment)
        else:
            programs = [joining_program(folder, self._order.drain_s, environment)]
        supervisor = Supervisor(folder, RestartPolicy(), self._note, _ignore)
        self._names = [program.name for program in programs]
        try:
            await supervisor.start(*programs)
            self._supervisor, self._trouble = supervisor, ""
            await self._stopped.wait()
        finally:
            await supervisor.close()
            self._supervisor = None

    def _settings_file(self, folder: Path) -> str | None:
        """Write the settings file that was sent; returns its path, or None if there is none."""
        if not self._order.file:
            return None
        path = folder / _SETTINGS_FILE
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(self._order.file)
        return str(path)

    def _note(self, event: Event) -> None:
        self._events.append(event)
        self._num_events += 1


async def _ignore(_name: str) -> None:
    pass
