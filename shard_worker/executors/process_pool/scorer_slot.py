"""The worker's end of one scorer: its channel, its region of shared memory, its current batch."""

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
from hedgerow.shard_worker.executors.process_pool.cpu_time import process_cpu_s
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
    DYING = auto()  # it has been killed, or hung up


class SlotListener(Protocol):
    """Who hears from a slot; always called on the event loop."""

    def on_report(self, slot: "ScorerSlot", pid: int, error: str) -> None:
        """The scorer, process `pid`, has made its handler ("") or failed to, with this error."""

    def on_frame(self, slot: "ScorerSlot", frame: Frame) -> None:
        """Results of the current batch."""

    def on_hangup(self, slot: "ScorerSlot") -> None:
        """The scorer closed its channel; nothing more will come from it."""


class Channel(asyncio.Protocol):
    """The socket to one process; a slot has another for each process that fills it."""

    def __init__(self, slot: "ScorerSlot", listener: SlotListener) -> None:
        self._slot = slot
        self._listener = listener
        self._unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=0)
        self.transport: asyncio.Transport | None = None

    def hang_up(self) -> None:
        """Close the socket; a scorer that reads it ends."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is watched from now on."""
        # A stream socket's; uvloop's does not inherit from it.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Something came from the scorer."""
        slot = self._slot
        self._unpacker.feed(data)
        for frame in self._unpacker:
            if slot.state is SlotState.READY:
                self._listener.on_frame(slot, frame)
            elif slot.state is SlotState.STARTING:
                self._listener.on_report(slot, *frame)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The scorer hung up, or was hung up on."""
        if self._slot.channel is self:
            self._slot.channel = None
            self._listener.on_hangup(self._slot)


class ScorerSlot:
    """One scorer's place in a lane; processes come and go in it.

    Attributes:
        channel: the socket to its process, None when there is none.
        batch: tickets sent in the current frame, in order; empty when the scorer is free.
        num_open: how many of them have not ended and are still this scorer's.
        first_generation: the generation of the first; the others count on from it.
        heard_at: when the batch was sent or the last results came, s.
        num_unread: bytes of the frame that had not left for the scorer when last looked at.
        check_at: when the lane looks after this batch, s.
        is_long: whether the batch runs longer than it should and counts as no room.
        profile: whose works the batch holds.
        owed: the profile that lost the last process, until there is another; its place is not given
            back before.
        number: the process's number, unique in the lane.
        pid: its pid, 0 while unknown.
        ready_at: when its handler was made, s; inf until then.
        looked_at: when its memory was last looked at, s; at first `ready_at`.
        num_failures: starts in a row that came to nothing.
        num_batches: batches that this process was given.
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
        self.is_long = False
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
        """A new process is being started for this slot."""
        self.state = SlotState.STARTING
        self.number = number
        self.pid = 0
        self.num_batches = 0
        self.ready_at = math.inf
        self.looked_at = math.inf
        self._current[0] = 0

    def successor(self) -> "ScorerSlot":
        """A slot for the same place and memory, whose process is to follow on this one's.

        A process writes to the memory while it has a batch, and at no other time, so the two may
        live side by side as long as one of them has none.
        """
        return ScorerSlot(self.index, self._region)

    # ---- batches

    def send(self, batch: Sequence[TaskHandle], first_generation: int, now: float) -> None:
        """Give the scorer a batch; it must be free."""
        generations, expiries, lates = self._generations, self._expiries, self._lates
        generation = first_generation
        index = 0
        payloads = []
        for ticket in batch:
            expiries[index] = ticket.expires_at
            lates[index] = ticket.work.late_s
            generations[index] = generation
            ticket.generation = generation
            ticket.slot = self
            payloads.append(ticket.work.payload)
            index += 1
            generation += 1
        self.batch = batch
        self.num_open = index
        self.first_generation = first_generation
        self.heard_at = now
        self.num_batches += 1
        channel = self.channel
        if channel is not None and channel.transport is not None:  # else its end follows
            channel.transport.write(_pack((first_generation, payloads)))

    def free(self) -> None:
        """The batch has ended, or was taken away."""
        self.batch = ()
        self.num_open = 0
        self.is_long = False
        self.check_at = math.inf

    def trip(self, ticket: TaskHandle) -> None:
        """Let the budget of a work that this scorer has expire now."""
        self._expiries[ticket.generation - self.first_generation] = 0.0

    def take_back(self, ticket: TaskHandle) -> None:
        """A work is not this scorer's any more; it skips it, unless it has begun."""
        self._generations[ticket.generation - self.first_generation] = 0
        ticket.generation = WAITING
        ticket.slot = None
        self.num_open -= 1

    def running(self) -> TaskHandle | None:
        """The ticket that the scorer says it runs, which may have been taken back meanwhile."""
        index = self._current[0] - self.first_generation
        return self.batch[index] if 0 <= index < len(self.batch) else None

    def cut_off(self, ticket: TaskHandle, now: float) -> TaskResult:
        """How the work ends that the scorer runs, when the scorer is killed for it now.

        Where the system does not tell the CPU time of another process, all of the time counts.
        """
        began_at, began_cpu_s = self._began
        cpu_s = process_cpu_s(self.pid)
        error = ExpiredError("ran on past its deadline and was killed", ExpiredEnd.KILLED)
        # Asked last: as long as this work runs, what was read before is of its own beginning.
        if self.running() is not ticket:
            return failed(ticket, error)
        lane_s, work_s = began_at - ticket.submitted_at, now - began_at
        used_s = work_s if cpu_s is None else cpu_s - began_cpu_s
        return TaskResult(b"", int(lane_s * 1e6), int(work_s * 1e6), int(used_s * 1e6), error)

    def is_silent(self, for_s: float, now: float) -> bool:
        """Whether the scorer has neither sent results nor read its batch for this time."""
        transport = None if self.channel is None else self.channel.transport
        num_unread = 0 if transport is None else transport.get_write_buffer_size()
        if num_unread < self.num_unread:
            self.heard_at = now  # a large frame takes its time to cross
        self.num_unread = num_unread
        return now >= self.heard_at + for_s

    def is_open(self, ticket: TaskHandle) -> bool:
        """Whether a ticket of the batch is still this scorer's."""
        return ticket.slot is self and ticket.generation > 0

    def open_tickets(self) -> list[TaskHandle]:
        """The tickets of the batch that have not ended and were not taken back, in order."""
        return [ticket for ticket in self.batch if self.is_open(ticket)]
