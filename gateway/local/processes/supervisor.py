"""Keeps child processes alive, and ends them in order.

Each child has a task: it starts the child, waits for its end, pauses as the policy says, and starts
it again. The drain first cancels the task, so that nothing is restarted, and then ends the child.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.machine.private_folder import make_folders
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.runtime.ticks import sleep_to_tick
from hedgerow.gateway.local.processes.child import Child, Program, ending
from hedgerow.gateway.local.processes.child_log import ChildLog, InheritedLog, Log, LogLine
from hedgerow.gateway.local.processes.restart_policy import RestartBackoff, RestartPolicy
from hedgerow.gateway.local.processes.template import Template

LOG_INTERVAL_S = 0.5
_MOST_LINES = 5


class Started(NamedTuple):
    """A child was started."""

    name: str
    pid: int
    num_restarts: int


class Died(NamedTuple):
    """A child ended without being asked to, or could not be started.

    Attributes:
        how: what happened, as a clause that follows the child's name.
        pid: its process id; 0 if it could not be started.
        restart_in_s: pause until it is started again.
    """

    name: str
    pid: int
    how: str
    restart_in_s: float


class Said(NamedTuple):
    """A child logged something that the operator should see."""

    name: str
    level: str
    text: str


class Stopped(NamedTuple):
    """A child ended because it was asked to; if overdue, it was killed when its time was up."""

    name: str
    pid: int
    how: str
    is_overdue: bool = False


Event = Started | Died | Said | Stopped


@dataclass(slots=True)
class _Kept:
    program: Program
    log: Log
    child: Child | None = None
    num_restarts: int = 0
    task: asyncio.Task[None] | None = None
    first_start: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Child processes that are restarted when they die.

    Args:
        folder: contains `logs/` and `run/`, with a log and a lock per child; None if the children
            write to this process's standard error, and need no locks.
        policy: the pauses between restarts.
        on_event: called on the loop for each event.
        on_death: awaited after each death, before the pause; must not raise.
        template: forks the children that are Python modules; None to start all by exec.
    """

    def __init__(
        self,
        folder: Path | None,
        policy: RestartPolicy,
        on_event: Callable[[Event], None],
        on_death: Callable[[str], Awaitable[None]],
        template: Template | None = None,
    ) -> None:
        self._folder = folder
        self._policy = policy
        self._on_event = on_event
        self._throttle = Throttle(60.0)
        self._on_death = on_death
        self._template = template
        self._kept: dict[str, _Kept] = {}
        self._log_task: asyncio.Task[None] | None = None

    async def start(self, *programs: Program) -> None:
        """Start programs, and keep them running until they are stopped.

        Returns once each of them has been started, or has failed to start (see `on_event`).
        """
        if self._log_task is None and self._folder is not None:
            for name in ("logs", "run"):
                make_folders(self._folder / name)
            self._log_task = asyncio.create_task(self._watch_logs(), name="logs")
        for program in programs:
            log = self._log_of(program.name)
            log.trim()
            kept = self._kept[program.name] = _Kept(program, log)
            kept.task = asyncio.create_task(self._keep(kept), name=f"keep {program.name}")
        for program in programs:
            await self._kept[program.name].first_start.wait()

    async def stop(self, names: Iterable[str]) -> None:
        """Drain some children concurrently; returns when all have ended."""
        kept = [self._kept[name] for name in names if name in self._kept]
        async with asyncio.TaskGroup() as tasks:
            for child in kept:
                tasks.create_task(self._stop(child))
        for child in kept:
            self._kept.pop(child.program.name, None)

    async def close(self) -> None:
        """Stop all children, and then the task that watches the logs."""
        await self.stop(self._kept)
        if self._log_task is not None:
            self._log_task.cancel()
            await asyncio.gather(self._log_task, return_exceptions=True)
            self._log_task = None

    def kill_all(self) -> None:
        """Kill every child at once, if the user will not wait; `stop` still reaps them."""
        for kept in self._kept.values():
            if kept.child is not None:
                kept.child.kill()

    def child(self, name: str) -> Child | None:
        """The running child of that name; None while it is down."""
        kept = self._kept.get(name)
        return kept.child if kept is not None else None

    def num_restarts(self, name: str) -> int:
        """How often a child has been restarted."""
        return self._kept[name].num_restarts

    def log_tail(self, name: str, num_lines: int = 20) -> list[str]:
        """The last lines that a child logged."""
        log = self._log_of(name)
        return log.tail(num_lines) if isinstance(log, ChildLog) else []

    def _log_of(self, name: str) -> Log:
        if self._folder is None:
            return InheritedLog()
        return ChildLog(self._folder / "logs" / f"{name}.log")

    async def _keep(self, kept: _Kept) -> None:
        name = kept.program.name
        locks = None if self._folder is None else self._folder / "run"
        backoff = RestartBackoff(self._policy, random.random)
        while True:
            pid = 0
            try:
                kept.child = await Child.start(kept.program, locks, kept.log, self._template)
            except (OSError, ConfigurationError) as error:
                how = f"could not be started: {error}"
            else:
                pid = kept.child.pid
                backoff.started(time.monotonic())
                self._report(Started(name, pid, kept.num_restarts))
                kept.first_start.set()
                how = ending(await kept.child.wait())
                kept.child = None
            now = time.monotonic()
            pause_s = backoff.died(now)
            # If a resource is missing, starting is retried for as long as that lasts.
            if pid or self._throttle.allows(f"start {name} {how}", now):
                self._report(Died(name, pid, how, pause_s))
            kept.first_start.set()
            await self._on_death(name)
            await asyncio.sleep(pause_s)
            kept.num_restarts += 1

    async def _stop(self, kept: _Kept) -> None:
        # Cancelled first, or the task would restart the child.
        if kept.task is not None:
            kept.task.cancel()
            await asyncio.gather(kept.task, return_exceptions=True)
        if kept.child is not None:
            how = ending(await kept.child.drain())
            child = kept.child
            self._report(Stopped(kept.program.name, child.pid, how, child.is_overdue))

    async def _watch_logs(self) -> None:
        while True:
            # Polled: there is no portable notice of a file that grows, and children that log into
            # pipes would die when this process does.
            await sleep_to_tick(LOG_INTERVAL_S)
            kept = list(self._kept.values())
            # All logs in one call of a thread, since each call wakes this process twice.
            found = await asyncio.to_thread(_read_and_trim, [child.log for child in kept])
            for child, lines in zip(kept, found, strict=True):
                self._report_lines(child, lines)

    def _report_lines(self, kept: _Kept, lines: list[LogLine] | OSError) -> None:
        name = kept.program.name
        if isinstance(lines, OSError):
            if self._throttle.allows(name, time.monotonic()):
                self._report(Said(name, "warning", f"its log cannot be kept: {lines}"))
            return
        if kept.program.is_quiet:
            return
        for line in lines[:_MOST_LINES]:
            self._report(Said(name, line.level, line.text))
        if len(lines) > _MOST_LINES:
            more = f"{len(lines) - _MOST_LINES} more lines in {kept.log.name}"
            self._report(Said(name, "warning", more))

    def _report(self, event: Event) -> None:
        # The end of the terminal must not end the children's tasks.
        with contextlib.suppress(OSError):
            self._on_event(event)


def _read_and_trim(logs: Sequence[Log]) -> list[list[LogLine] | OSError]:
    """Return the new lines of each log, or the error in reading it, such as a full disk."""
    found: list[list[LogLine] | OSError] = []
    for log in logs:
        try:
            lines = log.new_lines()
            log.trim()
        except OSError as error:
            found.append(error)
        else:
            found.append(lines)
    return found
