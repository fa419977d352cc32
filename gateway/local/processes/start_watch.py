"""Waits for child processes that are starting, and gives up if one of them dies meanwhile."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from hedgerow.common.errors import UnavailableError
from hedgerow.gateway.local.processes.child import ending
from hedgerow.gateway.local.processes.supervisor import Died, Event, Supervisor

SLOW_S: Final = 10.0  # after which it is said what is waited for


class Waiting(NamedTuple):
    """A start that takes long waits for something, which is named."""

    what: str


class StartWatch:
    """Waits for the children of one supervisor while they start."""

    def __init__(
        self,
        supervisor: Supervisor,
        logs: Path | None,
        timeout_s: float,
        on_slow: Callable[[Waiting], None] = lambda _waiting: None,
    ) -> None:
        """Watch the children of `supervisor`.

        Args:
            supervisor: starts the children; its events must be passed to `on_event`.
            logs: the folder of the children's logs, which messages name; None if the children
                write to this process's standard error.
            timeout_s: longest wait of `wait_until_there`, in s.
            on_slow: called with what such a wait is for when it has taken `SLOW_S`, and again
                whenever that has changed.
        """
        self._supervisor = supervisor
        self._logs = logs
        self._timeout_s = timeout_s
        self._on_slow = on_slow
        self._died: asyncio.Future[Died] = asyncio.get_running_loop().create_future()

    def on_event(self, event: Event) -> None:
        """Note an event of a child; the first death ends all waits, later ones included."""
        if isinstance(event, Died) and not self._died.done():
            self._died.set_result(event)

    async def or_death(self, step: Awaitable[Any]) -> None:
        """Await a step of the start.

        Raises:
            UnavailableError: a child has died; says which, and the last line that it logged.
        """
        task = asyncio.ensure_future(step)
        try:
            await asyncio.wait({task, self._died}, return_when=asyncio.FIRST_COMPLETED)
            if self._died.done():
                raise UnavailableError(self._words(self._died.result()))
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _words(self, died: Died) -> str:
        what = f"{died.name} {died.how} while starting"
        if died.how == ending(-signal.SIGKILL):
            what += ", as the system does if a machine or container lacks memory"
        if self._logs is None:
            return what if died.pid == 0 else f"{what}; its last message says why"
        said = " ".join(self._supervisor.log_tail(died.name, 1)) or "nothing"
        return f"{what}; its last log line: {said} (its log is {self._logs / died.name}.log)"

    async def wait_until_there(self, what: str, missing: Callable[[], Awaitable[str]]) -> None:
        """Wait until nothing is missing, unless a child dies.

        Args:
            what: is awaited, for the message if `missing` does not return in time.
            missing: returns what is missing, in words; "" if nothing is.

        Raises:
            UnavailableError: a child has died, or something is still missing after the timeout.
        """
        await self.or_death(self._poll(what, missing))

    async def _poll(self, what: str, missing: Callable[[], Awaitable[str]]) -> None:
        loop, told = asyncio.get_running_loop(), ""
        slow_at = loop.time() + SLOW_S
        try:
            async with asyncio.timeout(self._timeout_s):
                while what:
                    what = await missing()
                    if what not in ("", told) and loop.time() >= slow_at:
                        told = what
                        self._on_slow(Waiting(what))
                    await asyncio.sleep(0.05)
        except TimeoutError:
            where = "" if self._logs is None else f"; the logs are in {self._logs}"
            raise UnavailableError(
                f"after {self._timeout_s:g} s there is no sign of {what}{where}"
            ) from None
