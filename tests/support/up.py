"""`gateway up` as a user runs it: a process of its own, read from its output."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.commands import GATEWAY
from tests.support.launching import AsyncProcess, launch_async
from tests.support.processes import is_alive, session_members
from tests.support.waiting import until

READY_S = 90.0


def up_command(data: Path, *arguments: str) -> list[str]:
    """The command line of `gateway up` on `data`, on any free port unless `arguments` name one."""
    port = () if "--port" in arguments else ("--port", "0")
    return [*GATEWAY, "up", "--data", str(data), *port, *arguments]


@dataclass
class Announcement:
    """What `gateway up` has printed about itself.

    Attributes:
        url: where its gateway answers; "" until it is ready.
        pids: process name → process id, as they were when it got ready.
    """

    url: str = ""
    pids: dict[str, int] = field(default_factory=dict)

    def read(self, line: str) -> None:
        """Read a line of the output."""
        if row := re.match(r"(redis|gateway(?:-\d+)?|\S*worker-\d+) +(\d+) ", line):
            self.pids[row[1]] = int(row[2])
        if ready := re.match(r"ready at (\S+),", line):
            self.url = ready[1]


class Up:
    """A running `gateway up`.

    Attributes:
        lines: what it has printed.
    """

    def __init__(self, process: AsyncProcess) -> None:
        """Watch `process`; `start` makes one."""
        self.process = process
        self._announced = Announcement()
        self.lines: list[str] = []
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls, data: Path, *arguments: str, folder: Path | None = None, **environment: str
    ) -> Self:
        """Start one on `data` and any free port; returns when it is ready or has ended."""
        process = await launch_async(
            *up_command(data, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
            cwd=folder,
        )
        one = cls(process)
        one._reader = asyncio.create_task(one._read())
        await until(lambda: one.url != "" or one.has_ended, READY_S, what="ready, or ended")
        return one

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            line = raw.decode().rstrip()
            self.lines.append(line)
            self._announced.read(line)

    @property
    def url(self) -> str:
        """Where its gateway answers; "" until it is ready."""
        return self._announced.url

    @property
    def pids(self) -> dict[str, int]:
        """Process name → process id."""
        return self._announced.pids

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, and all that it printed has been read."""
        return self._reader is not None and self._reader.done()

    @property
    def output(self) -> str:
        """All that it has printed."""
        return "\n".join(self.lines)

    def living(self) -> set[int]:
        """All its live descendants."""
        return session_members(set(self.pids.values()))

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, as a terminal does: each process of the foreground group is signalled."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        code = await self.process.wait()
        if self._reader is not None:
            await self._reader
        return code

    async def destroy(self) -> None:
        """Leave nothing, whatever the test has done."""
        if self.process.returncode is None:
            await self.stop(signal.SIGKILL)
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await until(lambda: not self.living(), what="everything is gone")

    async def pid_of(self, name: str, old: int) -> int:
        """Wait for the process that took the place of `old`."""

        def newest() -> int:
            back = (re.match(rf"{name} is back \(pid (\d+)", line) for line in self.lines)
            return ([old] + [int(one[1]) for one in back if one])[-1]

        await until(lambda: newest() != old, what=f"{name} is back")
        pid = newest()
        assert is_alive(pid)
        self.pids[name] = pid
        return pid


@contextlib.asynccontextmanager
async def running_up(
    data: Path, *arguments: str, folder: Path | None = None, **environment: str
) -> AsyncIterator[Up]:
    """A `gateway up` that is ready, for the block; nothing of it is left afterwards."""
    one = await Up.start(data, *arguments, folder=folder, **environment)
    try:
        assert one.url, one.output
        yield one
    finally:
        await one.destroy()


class Caller:
    """A test's requests to the gateway."""

    def __init__(self, url: str) -> None:
        """Ask the gateway at `url`."""
        self.http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=60.0)

    async def __aenter__(self) -> Self:
        """Return this object."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.http.aclose()

    async def make(self, collection: str, fields: dict[str, str]) -> None:
        """Make a collection."""
        answer = await self.http.put(f"/v1/collections/{collection}", json={"fields": fields})
        assert answer.is_success, answer.text

    async def load(self, collection: str, lines: str, wait: str = "applied") -> dict[str, Any]:
        """Load documents."""
        answer = await self.http.post(
            f"/v1/collections/{collection}/documents", content=lines, params={"wait": wait}
        )
        assert answer.is_success, answer.text
        loaded: dict[str, Any] = answer.json()
        return loaded

    async def search(self, collection: str, query: str, **body: Any) -> httpx.Response:
        """Search; returns the whole HTTP answer."""
        return await self.http.post(
            f"/v1/collections/{collection}/search",
            json={"query": query, "deadline_ms": 10_000, **body},
        )

    async def found(self, collection: str, query: str, **body: Any) -> dict[str, Any]:
        """Search; returns the body of the answer."""
        answer = await self.search(collection, query, **body)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    async def is_whole(self, collection: str, query: str) -> bool:
        """Whether an answer comes, and reflects every document."""
        try:
            answer = await self.search(collection, query, deadline_ms=500)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and bool(answer.json()["coverage"]["is_full"])

    async def until_heard(self, worker: str, since: float, timeout_s: float = 60.0) -> None:
        """Wait for a heartbeat of a worker since an instant of the monotonic clock."""

        async def is_heard() -> bool:
            status = (await self.http.get("/v1/status")).json()
            asked_s = time.monotonic() - since
            ages = [one["age_ms"] for one in status["workers"] if one["id"] == worker]
            return bool(ages) and ages[0] < asked_s * 1000 - 1

        await until(is_heard, timeout_s, what=f"a heartbeat of {worker}")

    async def until_whole(self, collection: str, query: str, timeout_s: float = 60.0) -> None:
        """Wait until answers reflect every document."""
        await until(lambda: self.is_whole(collection, query), timeout_s, what="whole answers")
