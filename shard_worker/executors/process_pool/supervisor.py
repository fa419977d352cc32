"""Keeps a lane's slots filled: starts scorers, notices how they end, starts others."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from hedgerow.common.errors import ConfigurationError
from hedgerow.shard_worker.executors.process_pool.batching import restart_delay_s
from hedgerow.shard_worker.executors.process_pool.budget import SharedBudgets, open_shared_file
from hedgerow.shard_worker.executors.process_pool.forkserver import LauncherSpec
from hedgerow.shard_worker.executors.process_pool.forkserver_link import (
    LauncherLink,
    describe_status,
)
from hedgerow.shard_worker.executors.process_pool.forkserver_start import Start, start_interpreter
from hedgerow.shard_worker.executors.process_pool.recycler import MemoryLimit, Recycler
from hedgerow.shard_worker.executors.process_pool.scorer_process import ScorerSpec
from hedgerow.shard_worker.executors.process_pool.scorer_slot import (
    Channel,
    ScorerSlot,
    SlotState,
)
from hedgerow.shard_worker.executors.process_pool.task import Frame

_log = structlog.get_logger()

# A process that ends sooner than this after its start, without a batch, has failed to start.
_YOUNG_S = 1.0
# Results may still lie in the channel of a scorer that has ended; a grandchild that holds the
# channel open can keep its EOF away.
_LAST_WORDS_S = 0.05
# A launcher that has not reported a scorer's end this long after its SIGKILL is stopped itself.
_OBEY_TIMEOUT_S = 5.0
# A factory that takes longer hangs: its process is killed and started again.
_START_TIMEOUT_S = 60.0


class CrewListener(Protocol):
    """Who works with the scorers; always called on the event loop."""

    def on_ready(self, slot: ScorerSlot) -> None:
        """The slot's scorer takes batches from now on."""

    def on_frame(self, slot: ScorerSlot, frame: Frame) -> None:
        """Results of the slot's batch."""

    def on_replaced(self, slot: ScorerSlot, successor: ScorerSlot) -> None:
        """The slot had no batch and is no more; `successor` takes batches in its place."""

    def on_gone(self, slot: ScorerSlot, status: int | None) -> None:
        """The slot's scorer has ended; its batch must go elsewhere. `status` as waitpid(2)."""


class Supervisor:
    """The launcher and the slots of one lane."""

    def __init__(
        self,
        spec: ScorerSpec,
        num_scorers: int,
        max_batch: int,
        memory_limit: MemoryLimit | None,
        start_launcher: Start = start_interpreter,
    ) -> None:
        self.num_restarts = 0
        self.recycler = (
            None
            if memory_limit is None
            else Recycler(spec.name, memory_limit, self._start_scorer, self._replace)
        )
        self._spec = spec
        self._max_batch = max_batch
        self._start_process = start_launcher
        self._num_scorers = num_scorers
        self.slots: list[ScorerSlot] = []
        self._fd = -1
        self._memory: SharedBudgets | None = None
        self._launcher: LauncherLink | None = None
        self._launcher_failures = 0
        self._launcher_started_at = 0.0
        self._listener: CrewListener | None = None
        self._next_number = 1
        self._statuses: dict[int, int | None] = {}  # scorers that ended with words in the channel
        self._timers: set[asyncio.TimerHandle] = set()
        self._connects: set[asyncio.Task[None]] = set()
        self._all_ready: asyncio.Future[None] | None = None
        self._is_closing = False

    async def start(self, listener: CrewListener) -> None:
        """Start every scorer and wait until all are ready.

        Raises:
            ConfigurationError: one failed to make its handler, with its own error text.
        """
        self._listener = listener
        self._fd = open_shared_file(SharedBudgets.size(self._num_scorers, self._max_batch))
        self._memory = SharedBudgets(self._fd, self._num_scorers, self._max_batch)
        self.slots += [
            ScorerSlot(index, region) for index, region in enumerate(self._memory.regions)
        ]
        self._all_ready = asyncio.get_running_loop().create_future()
        if self.recycler is not None:
            self.recycler.warn_if_blind()
        self._start_launcher()
        await self._all_ready

    def kill(self, slot: ScorerSlot) -> None:
        """SIGKILL the slot's scorer; `on_gone` follows."""
        slot.state = SlotState.DYING
        if self._launcher is not None:
            self._launcher.kill_scorer(slot.number)
            if not self._is_closing:
                number = slot.number
                self._later(_OBEY_TIMEOUT_S, lambda: self._check_end(slot, number))

    async def close(self) -> None:
        """End every process; returns when all are gone. Safe after a start that failed."""
        self._is_closing = True
        self._fail_start(f"{self._spec.name}: closed while it started")
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._connects:
            await asyncio.gather(*self._connects, return_exceptions=True)
        # Those with work are killed; the others end by themselves when their channel closes.
        for slot in self._everyone():
            if slot.num_open or slot.state is SlotState.STARTING:
                self.kill(slot)
            if slot.channel is not None:
                slot.channel.hang_up()
        if self._launcher is not None:
            await self._launcher.end()
            self._launcher = None
        await asyncio.sleep(0)  # the channels' transports close their sockets
        if self._memory is not None:
            self._memory.close()
            self._memory = None
            os.close(self._fd)

    # ---- starting

    def _start_launcher(self) -> None:
        self._launcher_started_at = time.monotonic()
        spec = LauncherSpec(self._spec, self._num_scorers, self._max_batch, tuple(sys.path))
        launcher = LauncherLink(spec, self._fd, self._start_process)
        try:
            launcher.start(self)
        except OSError as error:  # no memory, process or descriptor is left, for now
            _log.error("launcher_start_failed", lane=self._spec.name, error=str(error))
            self._launcher_failures += 1
            self._fail_start(f"{self._spec.name}: the launcher cannot be started: {error}")
            self._start_launcher_later()
            return
        self._launcher = launcher
        for slot in self.slots:
            self._start_scorer(slot)

    def _start_launcher_later(self) -> None:
        self._later(restart_delay_s(self._launcher_failures, random.random), self._start_launcher)

    def _start_scorer(self, slot: ScorerSlot) -> None:
        if slot.state is not SlotState.DOWN or self._launcher is None or self._is_closing:
            return
        slot.reset(self._next_number)
        self._next_number += 1
        task = asyncio.ensure_future(self._connect(slot, slot.number))
        self._connects.add(task)
        task.add_done_callback(self._connects.discard)

    def _start_scorer_later(self, slot: ScorerSlot) -> None:
        delay_s = restart_delay_s(slot.num_failures, random.random)
        if delay_s:
            self._later(delay_s, lambda: self._start_scorer(slot))
        else:
            self._start_scorer(slot)

    async def _connect(self, slot: ScorerSlot, number: int) -> None:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            self._on_unconnected(slot, number, error)
            return
        with theirs:
            ours.setblocking(False)
            channel = slot.channel = Channel(slot, self)
            loop = asyncio.get_running_loop()
            try:
                transport, _ = await loop.create_connection(lambda: channel, sock=ours)
            except OSError as error:
                ours.close()
                self._on_unconnected(slot, number, error)
                return
            if slot.number != number or self._launcher is None or self._is_closing:
                transport.abort()  # overtaken by the launcher's death or by close
                return
            self._launcher.start_scorer(number, slot.index, theirs)
        self._later(_START_TIMEOUT_S, lambda: self._check_start(slot, number))

    def _on_unconnected(self, slot: ScorerSlot, number: int, error: OSError) -> None:
        """There is no channel to be had, so no process was asked for; tried again later."""
        if slot.number != number or self._is_closing:
            return
        _log.error("scorer_start_failed", lane=self._spec.name, pid=0, error=str(error))
        self._statuses.pop(number, None)  # the launcher's death may have come first
        slot.channel = None
        slot.state = SlotState.DOWN
        slot.num_failures += 1
        self._fail_start(f"{self._spec.name}: a scorer cannot be started: {error}")
        if self._give_up_succession(slot):
            return
        if self._has_started():
            self._start_scorer_later(slot)

    def _check_start(self, slot: ScorerSlot, number: int) -> None:
        if slot.number == number and slot.state is SlotState.STARTING:
            _log.error("scorer_start_timeout", lane=self._spec.name, pid=slot.pid)
            self.kill(slot)

    def _check_end(self, slot: ScorerSlot, number: int) -> None:
        if slot.number == number and slot.state is SlotState.DYING and self._launcher is not None:
            _log.error("launcher_stuck", lane=self._spec.name)
            self._launcher.kill()

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        def fire() -> None:
            self._timers.discard(timer)
            call()

        timer = asyncio.get_running_loop().call_later(delay_s, fire)
        self._timers.add(timer)

    # ---- what slots say

    def on_report(self, slot: ScorerSlot, pid: int, error: str) -> None:
        """A scorer has made its handler, or failed to."""
        slot.pid = pid  # this may come before the launcher's word of it
        if error:
            _log.error("scorer_start_failed", lane=self._spec.name, pid=slot.pid, error=error)
            slot.state = SlotState.DYING
            self._fail_start(f"{self._spec.factory}: {error}")
            return
        slot.state = SlotState.READY
        slot.ready_at = slot.looked_at = time.monotonic()
        if self.recycler is not None and slot is self.recycler.successor:
            self.recycler.on_ready()
            return
        assert self._listener is not None  # noqa: S101 - set by start
        self._listener.on_ready(slot)
        is_complete = all(one.state is SlotState.READY for one in self.slots)
        if is_complete and self._all_ready is not None and not self._all_ready.done():
            self._all_ready.set_result(None)

    def on_frame(self, slot: ScorerSlot, frame: Frame) -> None:
        """Results of a batch."""
        assert self._listener is not None  # noqa: S101 - set by start
        self._listener.on_frame(slot, frame)

    def on_hangup(self, slot: ScorerSlot) -> None:
        """A scorer's channel is closed: it has ended or soon will; if need be, make it."""
        if self._is_closing:
            return
        if slot.number in self._statuses:
            self._bury(slot)
        elif slot.state is not SlotState.DOWN:
            self.kill(slot)

    # ---- what the launcher says

    def on_started(self, number: int, pid: int) -> None:
        """A scorer exists."""
        for slot in self._everyone():
            if slot.number == number:
                slot.pid = pid

    def on_ended(self, number: int, status: int | None) -> None:
        """A scorer is gone; what it said last may still be in its channel."""
        for slot in self._everyone():
            if slot.number != number or self._is_closing:
                continue
            self._statuses[number] = status
            if slot.channel is not None:
                self._later(_LAST_WORDS_S, slot.channel.hang_up)  # its own, not a successor's
            else:
                self._bury(slot)

    def on_launcher_lost(self) -> None:
        """The launcher died, and with it every scorer."""
        self._launcher = None
        now = time.monotonic()
        is_young = now - self._launcher_started_at < _YOUNG_S
        self._launcher_failures = self._launcher_failures + 1 if is_young else 0
        _log.error("launcher_lost", lane=self._spec.name)
        self._fail_start("the launcher of the scorer processes died at its start")
        for slot in self.slots:  # a successor goes with the one that it was to follow
            if slot.state is not SlotState.DOWN:
                _kill_orphan(slot.pid)
                self._statuses[slot.number] = None
                if slot.channel is None:
                    self._bury(slot)
                else:
                    slot.channel.hang_up()
        self._start_launcher_later()

    def _bury(self, slot: ScorerSlot) -> None:
        """The slot's process is gone and has said its last: give up its batch, replace it."""
        status = self._statuses.pop(slot.number)
        now = time.monotonic()
        never_served = now < slot.ready_at
        has_failed = never_served or (slot.num_batches == 0 and now - slot.ready_at < _YOUNG_S)
        slot.num_failures = slot.num_failures + 1 if has_failed else 0
        pid, slot.pid = slot.pid, 0
        slot.state = SlotState.DOWN
        how = describe_status(status)
        _log.warning("scorer_ended", lane=self._spec.name, pid=pid, how=how)
        if self._give_up_succession(slot):
            return
        if never_served:
            self._fail_start(f"{self._spec.factory}: the scorer {how} at its start")
        assert self._listener is not None  # noqa: S101 - set by start
        self._listener.on_gone(slot, status)
        if self._launcher is None or self._is_closing or not self._has_started():
            return  # a new launcher starts all; a start that failed is not tried again
        self.num_restarts += 1
        self._start_scorer_later(slot)

    # ---- scorers that follow on others

    def _everyone(self) -> list[ScorerSlot]:
        """The slots, and who is about to take the place of one."""
        successor = None if self.recycler is None else self.recycler.successor
        return self.slots if successor is None else [*self.slots, successor]

    def _replace(self, slot: ScorerSlot, successor: ScorerSlot) -> None:
        self.slots[slot.index] = successor
        assert self._listener is not None  # noqa: S101 - set by start
        self._listener.on_replaced(slot, successor)
        self._dismiss(slot)

    def _give_up_succession(self, slot: ScorerSlot) -> bool:
        """A process is gone, and with it the succession that it was part of.

        Returns:
            Whether it was the successor, whose place is not empty. A predecessor that is gone is
            replaced as any other scorer is.
        """
        recycler = self.recycler
        if recycler is None:
            return False
        if slot is recycler.successor:
            recycler.start_failed()
            return True
        if recycler.is_replacing(slot) and (successor := recycler.give_up()) is not None:
            self._dismiss(successor)
        return False

    def _dismiss(self, slot: ScorerSlot) -> None:
        """Part from a scorer without a batch: it ends when it reads that its channel is closed."""
        number, slot.number = slot.number, 0  # reports about it are ignored from now on
        slot.state = SlotState.DOWN
        self._statuses.pop(number, None)
        if slot.channel is not None:
            slot.channel.hang_up()
        if not self._is_closing:
            self._later(_OBEY_TIMEOUT_S, lambda: self._make_sure(number))

    def _make_sure(self, number: int) -> None:
        if self._launcher is not None:
            self._launcher.kill_scorer(number)  # which does nothing to one that has ended

    def _has_started(self) -> bool:
        ready = self._all_ready
        return (
            ready is not None
            and ready.done()
            and not ready.cancelled()
            and ready.exception() is None
        )

    def _fail_start(self, reason: str) -> None:
        if self._all_ready is not None and not self._all_ready.done():
            self._all_ready.set_exception(ConfigurationError(reason))


def _kill_orphan(pid: int) -> None:
    """What Linux does by PR_SET_PDEATHSIG; no other process reaps the pid before it is dead."""
    if sys.platform != "linux" and pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
