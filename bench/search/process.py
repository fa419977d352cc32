"""An engine as the driver sees it: processes that are started, paused, loaded and ended."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.harness.apart import Apart
from bench.harness.load import Load
from bench.harness.processes import shared_bytes
from bench.search.catalogue import Engine
from bench.search.commands import command_of, options_of
from bench.search.inside.serving import Hits

_BUILD_TIMEOUT_S = 600.0
_ANSWER_TIMEOUT_S = 300.0  # of a pass over all queries by the slowest
_END_TIMEOUT_S = 30.0
_SETTLE_S = 0.3


class EngineError(Exception):
    """An engine did not start, did not answer, or has ended; says why."""


@dataclass(frozen=True, slots=True)
class Work:
    """The documents and queries that engines are given.

    Attributes:
        cache: folder of what is kept from run to run.
        folder: for what the engines build in this run.
        documents: file of NDJSON.
        limit: how many of its lines count.
        queries: file as `queries.write_plainly` writes it.
    """

    cache: Path
    folder: Path
    documents: Path
    limit: int
    queries: Path


@dataclass(frozen=True, slots=True)
class Built:
    """What an engine reports about its index; times are in s.

    Attributes:
        versions: name → version.
        settings: name, value and reason of each.
    """

    build_s: float
    disk_bytes: int
    versions: dict[str, str]
    settings: list[tuple[str, str, str]]


@dataclass(slots=True)
class EngineProcess:
    """A running engine.

    Attributes:
        built: what it reported when it was ready.
    """

    _engine: Engine
    _processes: list[Apart] = field(default_factory=list)
    built: Built = field(init=False)

    def add(self, process: Apart) -> None:
        """Add one of the engine's processes."""
        self._processes.append(process)

    async def wait_until_ready(self) -> None:
        """Wait for the first message of the process that was added last.

        Raises:
            EngineError: it did not come.
        """
        told = await self._processes[-1].receive(_BUILD_TIMEOUT_S)
        if len(self._processes) == 1:  # the others build nothing
            settings = [(name, value, reason) for name, value, reason in told["settings"]]
            self.built = Built(told["build_s"], told["disk_bytes"], told["versions"], settings)

    async def run(
        self, in_flight: int, seconds: float, way: str, *, k: int = 10, num_queries: int = 10**6
    ) -> Load:
        """Keep queries in flight, in whole passes over them, for at least some time.

        Args:
            in_flight: how many queries.
            seconds: the least duration.
            way: of asking.
            k: how many hits are requested.
            num_queries: how many of the queries are asked, from the first one on.

        Raises:
            EngineError: the engine has ended, or takes far longer.
        """
        shares = [
            in_flight // len(self._processes) + (number < in_flight % len(self._processes))
            for number in range(len(self._processes))
        ]
        told = await asyncio.gather(
            *(
                process.ask(f"run {share} {k} {seconds} {num_queries} {way}", _ANSWER_TIMEOUT_S)
                for process, share in zip(self._processes, shares, strict=True)
                if share
            )
        )
        first, *others = map(Load.from_json, told)  # an engine with parts has one process here
        for other in others:
            # The first process to end leaves its core to the others: a mean over each one's own
            # time would flatter the engine, the longest time does not.
            first.seconds = max(first.seconds, other.seconds)
            first.latencies_s += other.latencies_s
            first.num_failed += other.num_failed
            first.failure = first.failure or other.failure
        return first

    async def find(self, way: str, k: int = 10) -> list[tuple[int | None, Hits]]:
        """How many documents each query matches, if the engine counts them, and the best of them.

        Raises:
            EngineError: it has ended.
        """
        told = await self._processes[0].ask(f"find {k} {way}", _ANSWER_TIMEOUT_S)
        return [(total, [(one, score) for one, score in hits]) for total, hits in told["found"]]

    async def grow(self, limit: int) -> tuple[float, int]:
        """Add documents up to `limit`; returns the seconds it took, and the bytes on disk.

        Raises:
            EngineError: it has ended.
        """
        told = await self._processes[0].ask(f"grow {limit}", _ANSWER_TIMEOUT_S)
        return told["build_s"], told["disk_bytes"]

    def memory_bytes(self) -> int:
        """Memory of all processes; shared pages count once (PSS, proc(5))."""
        return shared_bytes(self._pids())

    def num_processes(self) -> int:
        """How many processes the engine has; a separate client is left out."""
        return len(self._pids())

    def pause(self) -> None:
        """Stop all processes, so that the engine costs the others nothing."""
        for process in self._processes:
            process.pause()

    async def resume(self) -> None:
        """Let all processes run again, and wait for timers that fell due meanwhile."""
        for process in self._processes:
            process.resume()
        await asyncio.sleep(_SETTLE_S)

    async def stop(self) -> None:
        """End all processes; those that do not end by themselves are killed."""
        for process in self._processes:
            process.resume()
            process.hang_up()
        for process in self._processes:
            await process.end(_END_TIMEOUT_S)

    def _pids(self) -> list[int]:
        """The engine's processes, without a separate client."""
        found = [pid for process in self._processes for pid in process.pids()]
        clients = {process.pid for process in self._processes if self._engine.is_client_apart}
        return [pid for pid in found if pid not in clients]


@asynccontextmanager
async def run_engine(engine: Engine, work: Work) -> AsyncIterator[EngineProcess]:
    """Start an engine, which builds its index first; none of its processes is left behind.

    Raises:
        MissingError: it is not available here.
        EngineError: it does not answer.
    """
    options, command = options_of(engine), command_of(engine, work.cache)
    home = work.folder / engine.name
    errors = work.folder / f"{engine.name}.log"
    running = EngineProcess(engine)
    try:
        for number in range(engine.num_processes):
            arguments = [home, work.documents, work.limit, work.queries, number, *options]
            running.add(
                await Apart.launch(
                    *command, *map(str, arguments), errors=errors, failure=EngineError
                )
            )
            await running.wait_until_ready()
        yield running
    finally:
        await running.stop()
        shutil.rmtree(home, ignore_errors=True)
