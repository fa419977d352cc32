"""The worker's side of one scorer: its channel, region of shared memory and current batch."""

import asyncio
import math
from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol, cast

import msgpack
import msgspec

from hedgerow.common.errors import ExpiredEnd, ExpiredError
from hedgerow.shard_worker.executors.bulkhead import OURS
from hedgerow.shard_worker.executors.process_pool.budget import Region
from hedgerow.shard_worker.executors.process_pool.core_use import process_cpu_s
from hedgerow.shard_worker.executors.process_pool.overrun import Overrun
from hedgerow.shard_worker.executors.process_pool.task import (
    WAITING,
    Frame,
    TaskHandle,
    TaskResult,
    failed,
)

_pack = msgspec.msgpack.Encoder().encode


class SlotState(Enum):
    """What the process of a slot is doing."""

    DOWN = auto()  # there is none
    STARTING = auto()  # it makes its handler
    READY = auto()  # it takes batches
    DYING = auto()  # it was killed, or has closed its channel


class SlotListener(Protocol):
    """Receives the reports of slots; always called on the event loop."""

    def on_report(self, slot: "ScorerSlot", pid: int, error: str) -> None:
        """The scorer, process `pid`, has made its handler, or failed to if `error` is not ""."""

    def on_frame(self, slot: "ScorerSlot", frame: Frame) -> None:
        """Results of the current batch."""

    def on_hangup(self, slot: "ScorerSlot") -> None:
        """The scorer has closed its channel, so nothing more will come."""


class Channel(asyncio.Protocol):
    """The socket to one process of a slot."""

    def __init__(self, slot: "ScorerSlot", listener: SlotListener) -> None:
        self._slot = slot
        self._listener = listener
        self._unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=0)
        self.transport: asyncio.Transport | None = None

    def hang_up(self) -> None:
        """Close the socket; the scorer ends when it reads this."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # It is that of a stream socket; uvloop's does not inherit from `asyncio.Transport`.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass on the scorer's frames."""
        slot = self._slot
        self._unpacker.feed(data)
        for frame in self._unpacker:
            if slot.state is SlotState.READY:
                self._listener.on_frame(slot, frame)
            elif slot.state is SlotState.STARTING:
                self._listener.on_report(slot, *frame)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Report that either end has closed the channel."""
        if self._slot.channel is self:
            self._slot.channel = None
            self._listener.on_hangup(self._slot)


class ScorerSlot:
    """One scorer's place in a lane, which one process after another fills.

    Attributes:
        channel: the socket to its process; None if there is none.
        batch: the tasks of the current frame, in order; empty if the scorer is free.
        num_open: how many of them have not ended and were not taken back.
        first_generation: the generation of the first task; the others follow in order.
        heard_at: when the batch was sent or the last results came, in s.
        num_unread: bytes of the frame that the scorer had not read at the last look.
        check_at: when the lane looks at this batch next, in s.
        relief_at: when the tasks behind the one that runs are looked after next, in s; at first,
            when the batch runs longer than it should.
        is_long: whether it does, and so counts as no room.
        overrun: of the task of the batch that was last seen to run on after its deadline.
        profile: the profile of the batch's tasks.
        owed: the profile that lost the last process; until there is another, it still counts as
            having this place.
        number: the process's number, unique in the lane.
        pid: its pid; 0 while unknown.
        ready_at: when its handler was made, in s; inf until then.
        looked_at: when its memory was last read, in s; at first `ready_at`.
        num_failures: failed starts in a row.
        num_batches: how many batches this process was given.
    """

    def __init__(self, index: int, region: Region) -> None:
        self.index = index
        self.state = SlotState.DOWN
        self.number = 0
        self.pid = 0
        self.ready_at = math.inf
        self.looked_at = math.inf
        self.num_failures = 0
        self.num_batches = 0
        self.batch: Sequence[TaskHandle] = ()
        self.num_open = 0
        self.first_generation = 0
        self.heard_at = 0.0
        self.num_unread = 0
        self.check_at = math.inf
        self.relief_at = math.inf
        self.is_long = False
        self.overrun: Overrun | None = None
        self.profile = OURS
        self.owed = OURS
        self._region = region
        self._current = region.current
        self._began = region.began
        self._generations = region.generations
        self._expiries = region.expiries
        self._lates = region.lates
        self.channel: Channel | None = None

    # ---- the process

    def reset(self, number: int) -> None:
        """Prepare for a new process, which is being started."""
        self.state = SlotState.STARTING
        self.number = number
        self.pid = 0
        self.num_batches = 0
        self.ready_at = math.inf
        self.looked_at = math.inf
        self._current[0] = 0

    def successor(self) -> "ScorerSlot":
        """A slot for the same place and memory, whose process will take over from this one's.

        A process writes to the memory only while it has a batch, so the two may exist side by side
        as long as only one of them has a batch.
        """
        return ScorerSlot(self.index, self._region)

    # ---- batches

    def send(self, batch: Sequence[TaskHandle], first_generation: int, now: float) -> None:
        """Send the scorer a batch; it must be free."""
        generations, expiries, lates = self._generations, self._expiries, self._lates
        generation = first_generation
        index = 0
        payloads = []
        for handle in batch:
            expiries[index] = handle.expires_at
            lates[index] = handle.task.late_s
            generations[index] = generation
            handle.generation = generation
            handle.slot = self
            payloads.append(handle.task.payload)
            index += 1
            generation += 1
        self.batch = batch
        self.num_open = index
        self.first_generation = first_generation
        self.heard_at = now
        self.num_batches += 1
        channel = self.channel
        if (
            channel is not None and channel.transport is not None
        ):  # otherwise its end will be reported
            channel.transport.write(_pack((first_generation, payloads)))

    def free(self) -> None:
        """Forget the batch, which has ended or was taken away."""
        self.batch = ()
        self.num_open = 0
        self.is_long = False
        self.overrun = None
        self.check_at = math.inf

    def trip(self, handle: TaskHandle) -> None:
        """Make the budget of a task of the batch expire now."""
        self._expiries[handle.generation - self.first_generation] = 0.0

    def take_back(self, handle: TaskHandle) -> None:
        """Take a task back: the scorer skips it, unless it has started."""
        self._generations[handle.generation - self.first_generation] = 0
        handle.generation = WAITING
        handle.slot = None
        self.num_open -= 1

    def running(self) -> TaskHandle | None:
        """The task that the scorer runs now, which may have been taken back."""
        index = self._current[0] - self.first_generation
        return self.batch[index] if 0 <= index < len(self.batch) else None

    def cut_off(self, handle: TaskHandle, now: float) -> TaskResult:
        """The result of the running task if the scorer is killed for it now.

        If the system does not report the CPU time of other processes, all of the time counts.
        """
        began_at, began_cpu_s = self._began
        cpu_s = process_cpu_s(self.pid)
        error = ExpiredError("ran on past its deadline and was killed", ExpiredEnd.KILLED)
        # Checked last: if this task still runs, what was read before is about its own start.
        if self.running() is not handle:
            return failed(handle, error)
        lane_s, work_s = began_at - handle.submitted_at, now - began_at
        used_s = work_s if cpu_s is None else cpu_s - began_cpu_s
        return TaskResult(b"", int(lane_s * 1e6), int(work_s * 1e6), int(used_s * 1e6), error)

    def is_silent(self, for_s: float, now: float) -> bool:
        """Whether the scorer has neither sent results nor read its batch for this time."""
        transport = None if self.channel is None else self.channel.transport
        num_unread = 0 if transport is None else transport.get_write_buffer_size()
        if num_unread < self.num_unread:
            self.heard_at = now  # a large frame takes time to be read
        self.num_unread = num_unread
        return now >= self.heard_at + for_s

    def is_open(self, handle: TaskHandle) -> bool:
        """Whether a task of the batch has not ended and was not taken back."""
        return handle.slot is self and handle.generation > 0

    def open_handles(self) -> list[TaskHandle]:
        """The tasks of the batch that have not ended and were not taken back, in order."""
        return [handle for handle in self.batch if self.is_open(handle)]
