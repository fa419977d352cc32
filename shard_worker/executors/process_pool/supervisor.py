"""Keeps a lane's slots filled: starts scorers, and replaces those that end."""

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
from hedgerow.shard_worker.executors.process_pool.forkserver import ForkserverSpec
from hedgerow.shard_worker.executors.process_pool.forkserver_link import (
    ForkserverLink,
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
# The channel of a scorer that has ended may still have results, and never EOF (by a grandchild).
_LAST_RESULTS_S = 0.05
# A forkserver that has not reported a scorer's end this long after its SIGKILL is stopped itself.
_OBEY_TIMEOUT_S = 5.0
# A factory that takes longer hangs: its process is killed and started again.
_START_TIMEOUT_S = 60.0


class SupervisorListener(Protocol):
    """What uses the scorers; always called on the event loop."""

    def on_ready(self, slot: ScorerSlot) -> None:
        """The slot's scorer takes batches from now on."""

    def on_frame(self, slot: ScorerSlot, frame: Frame) -> None:
        """Results of the slot's batch."""

    def on_replaced(self, slot: ScorerSlot, successor: ScorerSlot) -> None:
        """`successor` takes batches in place of the slot, which had none."""

    def on_gone(self, slot: ScorerSlot, status: int | None) -> None:
        """The slot's scorer has ended; its batch must go elsewhere. `status` as waitpid(2)."""


class Supervisor:
    """The forkserver and the slots of one lane."""

    def __init__(
        self,
        spec: ScorerSpec,
        num_scorers: int,
        max_batch: int,
        memory_limit: MemoryLimit | None,
        start_forkserver: Start = start_interpreter,
    ) -> None:
        self.num_restarts = 0
        self.recycler = (
            None
            if memory_limit is None
            else Recycler(spec.name, memory_limit, self._start_scorer, self._replace)
        )
        self._spec = spec
        self._max_batch = max_batch
        self._start_process = start_forkserver
        self._num_scorers = num_scorers
        self.slots: list[ScorerSlot] = []
        self._fd = -1
        self._memory: SharedBudgets | None = None
        self._forkserver: ForkserverLink | None = None
        self._forkserver_failures = 0
        self._forkserver_started_at = 0.0
        self._listener: SupervisorListener | None = None
        self._next_number = 1
        self._statuses: dict[
            int, int | None
        ] = {}  # of scorers that have ended, whose channels may have more to read
        self._timers: set[asyncio.TimerHandle] = set()
        self._connects: set[asyncio.Task[None]] = set()
        self._all_ready: asyncio.Future[None] | None = None
        self._is_closing = False

    async def start(self, listener: SupervisorListener) -> None:
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
        self._start_forkserver()
        await self._all_ready

    def kill(self, slot: ScorerSlot) -> None:
        """SIGKILL the slot's scorer; `on_gone` follows."""
        slot.state = SlotState.DYING
        if self._forkserver is not None:
            self._forkserver.kill_scorer(slot.number)
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
        # Scorers with tasks are killed; the others end by themselves when their channel closes.
        for slot in self._everyone():
            if slot.num_open or slot.state is SlotState.STARTING:
                self.kill(slot)
            if slot.channel is not None:
                slot.channel.hang_up()
        if self._forkserver is not None:
            await self._forkserver.end()
            self._forkserver = None
        await asyncio.sleep(0)  # the channels' transports close their sockets
        if self._memory is not None:
            self._memory.close()
            self._memory = None
            os.close(self._fd)

    # ---- starting

    def _start_forkserver(self) -> None:
        self._forkserver_started_at = time.monotonic()
        spec = ForkserverSpec(self._spec, self._num_scorers, self._max_batch, tuple(sys.path))
        forkserver = ForkserverLink(spec, self._fd, self._start_process)
        try:
            forkserver.start(self)
        except OSError as error:  # no memory, process or descriptor is left, for now
            _log.error("launcher_start_failed", lane=self._spec.name, error=str(error))
            self._forkserver_failures += 1
            self._fail_start(f"{self._spec.name}: the forkserver cannot be started: {error}")
            self._start_forkserver_later()
            return
        self._forkserver = forkserver
        for slot in self.slots:
            self._start_scorer(slot)

    def _start_forkserver_later(self) -> None:
        delay_s = restart_delay_s(self._forkserver_failures, random.random)
        self._later(delay_s, self._start_forkserver)

    def _start_scorer(self, slot: ScorerSlot) -> None:
        if slot.state is not SlotState.DOWN or self._forkserver is None or self._is_closing:
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
            if slot.number != number or self._forkserver is None or self._is_closing:
                transport.abort()  # overtaken by the forkserver's death or by close
                return
            self._forkserver.start_scorer(number, slot.index, theirs)
        self._later(_START_TIMEOUT_S, lambda: self._check_start(slot, number))

    def _on_unconnected(self, slot: ScorerSlot, number: int, error: OSError) -> None:
        """No channel could be opened, so no process was started; it is tried again later."""
        if slot.number != number or self._is_closing:
            return
        _log.error("scorer_start_failed", lane=self._spec.name, pid=0, error=str(error))
        self._statuses.pop(number, None)  # the forkserver's death may have come first
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
        if slot.number == number and slot.state is SlotState.DYING and self._forkserver is not None:
            _log.error("launcher_stuck", lane=self._spec.name)
            self._forkserver.kill()

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        def fire() -> None:
            self._timers.discard(timer)
            call()

        timer = asyncio.get_running_loop().call_later(delay_s, fire)
        self._timers.add(timer)

    # ---- reports of the slots

    def on_report(self, slot: ScorerSlot, pid: int, error: str) -> None:
        """A scorer has made its handler, or failed to."""
        slot.pid = pid  # this may come before the forkserver's report
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
        """A scorer's channel is closed: it has ended, or else is killed."""
        if self._is_closing:
            return
        if slot.number in self._statuses:
            self._bury(slot)
        elif slot.state is not SlotState.DOWN:
            self.kill(slot)

    # ---- reports of the forkserver

    def on_started(self, number: int, pid: int) -> None:
        """A scorer exists."""
        for slot in self._everyone():
            if slot.number == number:
                slot.pid = pid

    def on_ended(self, number: int, status: int | None) -> None:
        """A scorer has ended; its last results may still be in its channel."""
        for slot in self._everyone():
            if slot.number != number or self._is_closing:
                continue
            self._statuses[number] = status
            if slot.channel is not None:
                self._later(
                    _LAST_RESULTS_S, slot.channel.hang_up
                )  # this one's channel, not its successor's
            else:
                self._bury(slot)

    def on_forkserver_lost(self) -> None:
        """The forkserver died, and every scorer with it."""
        self._forkserver = None
        now = time.monotonic()
        is_young = now - self._forkserver_started_at < _YOUNG_S
        self._forkserver_failures = self._forkserver_failures + 1 if is_young else 0
        _log.error("launcher_lost", lane=self._spec.name)
        self._fail_start("the forkserver of the scorer processes died at its start")
        for slot in self.slots:  # a successor ends with its predecessor
            if slot.state is not SlotState.DOWN:
                _kill_orphan(slot.pid)
                self._statuses[slot.number] = None
                if slot.channel is None:
                    self._bury(slot)
                else:
                    slot.channel.hang_up()
        self._start_forkserver_later()

    def _bury(self, slot: ScorerSlot) -> None:
        """The slot's process has ended and its channel is read: hand on its batch, replace it."""
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
        if self._forkserver is None or self._is_closing or not self._has_started():
            return  # a new forkserver starts all; a start that failed is not tried again
        self.num_restarts += 1
        self._start_scorer_later(slot)

    # ---- successors

    def _everyone(self) -> list[ScorerSlot]:
        """The slots, and the successor of one, if there is one."""
        successor = None if self.recycler is None else self.recycler.successor
        return self.slots if successor is None else [*self.slots, successor]

    def _replace(self, slot: ScorerSlot, successor: ScorerSlot) -> None:
        self.slots[slot.index] = successor
        assert self._listener is not None  # noqa: S101 - set by start
        self._listener.on_replaced(slot, successor)
        self._dismiss(slot)

    def _give_up_succession(self, slot: ScorerSlot) -> bool:
        """Give up the succession that a process was part of, since the process has ended.

        Returns:
            Whether it was the successor, whose place is not empty.
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
        """Close the channel of a scorer without a batch, which then ends."""
        number, slot.number = slot.number, 0  # reports about it are ignored from now on
        slot.state = SlotState.DOWN
        self._statuses.pop(number, None)
        if slot.channel is not None:
            slot.channel.hang_up()
        if not self._is_closing:
            self._later(_OBEY_TIMEOUT_S, lambda: self._make_sure(number))

    def _make_sure(self, number: int) -> None:
        if self._forkserver is not None:
            self._forkserver.kill_scorer(number)  # does nothing if it has ended

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
    """Do what PR_SET_PDEATHSIG does on Linux; the pid is not reused before this has killed it."""
    if sys.platform != "linux" and pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
