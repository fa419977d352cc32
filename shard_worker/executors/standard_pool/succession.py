"""Replaces the processes of the standard pool: the current ones, their successors, old ones."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

import structlog

from hedgerow.common.errors import ConfigurationError
from hedgerow.shard_worker.executors.process_pool.batching import restart_delay_s
from hedgerow.shard_worker.executors.standard_pool.batch import Batch
from hedgerow.shard_worker.executors.standard_pool.processes import ScorerProcesses

_log = structlog.get_logger()

# Processes that break sooner than this after their start have failed to start.
_YOUNG_S = 1.0
# How long processes that were replaced may take to end their tasks, in s.
_LEAVE_S = 1.0


class SuccessionListener(Protocol):
    """What uses the processes; always called on the event loop."""

    def on_ready(self) -> None:
        """Other processes get batches from now on."""

    def on_lost(self, batch: Batch) -> None:
        """A batch will have no results: its processes are about to be killed."""

    def next_end(self) -> asyncio.Future[None]:
        """A future that is done when batches have ended."""


class Succession:
    """Keeps one executor running: starts another if it breaks or a process hangs.

    Attributes:
        current: the processes that get batches; None before the start and after the end.
        num_restarts: processes that were started in place of others.
        num_crashes: executors that broke while they had batches.
    """

    def __init__(
        self, name: str, make: Callable[[], ScorerProcesses], listener: SuccessionListener
    ) -> None:
        self.current: ScorerProcesses | None = None
        self.num_restarts = 0
        self.num_crashes = 0
        self._name = name
        self._make = make
        self._listener = listener
        self._opening: ScorerProcesses | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._leaving: dict[asyncio.Task[None], ScorerProcesses] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._num_failures = 0  # failed starts in a row

    def everyone(self) -> Iterator[ScorerProcesses]:
        """All processes that may have batches."""
        if self.current is not None:
            yield self.current
        yield from self._leaving.values()

    async def start(self) -> None:
        """Start the first processes; see `ScorerProcesses.open` for its errors."""
        self._take_over(await self._open())

    def replace(self) -> None:
        """Start other processes; the current ones leave once those are ready."""
        if self._replacing is None:
            self._replacing = asyncio.ensure_future(self._start_others())

    def on_broken(self, processes: ScorerProcesses) -> None:
        """Replace processes of which one has died, which breaks their executor."""
        if processes is not self.current or processes.is_broken:
            return
        processes.is_broken = True
        self._unwatch(processes)
        is_young = time.monotonic() - processes.ready_at < _YOUNG_S
        self._num_failures = self._num_failures + 1 if is_young else 0
        self.num_crashes += bool(processes.batches)
        _log.warning("process_pool_broken", lane=self._name)
        self.replace()

    def give_up_start(self) -> None:
        """End a running start, which then raises a ConfigurationError."""
        if self._opening is not None:
            self._opening.give_up()

    async def close(self) -> None:
        """End all processes; kill those that have batches."""
        if self._replacing is not None:
            self._replacing.cancel()
            with suppress(asyncio.CancelledError):
                await self._replacing
        leaving = [*self._leaving]
        if self.current is not None:
            leaving.append(asyncio.ensure_future(self._leave(self.current, 0.0)))
        await asyncio.gather(*leaving, *self._ending)
        self.current = None

    async def _open(self) -> ScorerProcesses:
        """Start processes in a thread; if this fails or is cancelled, end them."""
        processes = self._opening = self._make()
        opening = asyncio.ensure_future(asyncio.to_thread(processes.open))
        try:
            await asyncio.wait([opening])
            opening.result()
        except BaseException:
            # As a task: cancelled in the middle, it would leave processes and memory behind.
            ending = asyncio.ensure_future(self._end_start(processes, opening))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            await asyncio.wait([ending])
            raise
        finally:
            self._opening = None
        return processes

    async def _end_start(self, processes: ScorerProcesses, opening: asyncio.Future[None]) -> None:
        processes.give_up()
        await asyncio.wait([opening])
        opening.exception()  # taken note of: the caller of a cancelled start has left
        processes.kill()
        await asyncio.to_thread(processes.shut_down)

    def _take_over(self, processes: ScorerProcesses) -> None:
        self.current = processes
        # An executor without a call does not report that it has broken.
        loop = asyncio.get_running_loop()
        for child in processes.children:
            loop.add_reader(child.sentinel, self.on_broken, processes)

    def _unwatch(self, processes: ScorerProcesses) -> None:
        loop = asyncio.get_running_loop()
        for child in processes.children:
            loop.remove_reader(child.sentinel)

    async def _start_others(self) -> None:
        while True:
            await asyncio.sleep(restart_delay_s(self._num_failures, random.random))
            try:
                others = await self._open()
                break
            except (ConfigurationError, OSError, EOFError, RuntimeError) as error:
                # The library's own, too: the forkserver has died, or no thread can be started.
                self._num_failures += 1
                _log.error("process_pool_start_failed", lane=self._name, error=str(error))
        assert self.current is not None  # noqa: S101 - `close` cancels this first
        leaving = asyncio.ensure_future(self._leave(self.current, _LEAVE_S))
        self._leaving[leaving] = self.current
        leaving.add_done_callback(self._leaving.pop)
        self._unwatch(self.current)
        self._take_over(others)
        self._replacing = None
        self.num_restarts += len(others.children)
        self._listener.on_ready()

    async def _leave(self, processes: ScorerProcesses, within_s: float) -> None:
        """Let processes end their batches, then kill those that still have one."""
        deadline = time.monotonic() + within_s
        while processes.num_busy and (left_s := deadline - time.monotonic()) > 0:
            await asyncio.wait([self._listener.next_end()], timeout=left_s)
        self._unwatch(processes)
        if processes.batches:
            for batch in list(processes.batches.values()):
                self._listener.on_lost(batch)
            processes.kill()
        await asyncio.to_thread(processes.shut_down)
