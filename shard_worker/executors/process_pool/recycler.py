"""Replaces scorers that have grown too large, each by a successor that is ready first.

Memory that a user's function leaks is freed only when the process ends. So if a scorer exceeds the
limit at the end of a batch, a successor is started, and the scorer goes on serving until the
successor has made its handler. Between two batches, the successor then takes its place, and the
scorer, whose channel is closed, ends. No task is moved, and the lane never lacks a scorer; while
the successor starts, it has one process more.
"""

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from hedgerow.shard_worker.executors.process_pool.batching import restart_delay_s
from hedgerow.shard_worker.executors.process_pool.process_memory import own_memory_mb
from hedgerow.shard_worker.executors.process_pool.scorer_slot import ScorerSlot, SlotState

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """When a scorer is looked at, and when it is too large.

    Attributes:
        max_mb: a scorer whose own memory exceeds this is replaced, in MB.
        look_every_s: shortest time between two looks at a scorer, and before the first, in s. If
            the limit is below what every scorer needs, this bounds the rate of starts.
    """

    max_mb: float
    look_every_s: float = 1.0

    def is_due(self, looked_at: float, now: float) -> bool:
        """Whether to look at a scorer that was ready, or last looked at, at `looked_at`."""
        return now >= looked_at + self.look_every_s

    def is_exceeded(self, memory_mb: float | None) -> bool:
        """Whether a scorer with this memory is replaced; False if the memory is unknown."""
        return memory_mb is not None and memory_mb > self.max_mb


class Recycler:
    """The scorer of a lane that is being replaced; one at a time, so that their starts spread out.

    Attributes:
        num_recycled: scorers whose place a successor has taken.
        successor: the one that starts, or waits for the end of its predecessor's batch.
    """

    def __init__(
        self,
        name: str,
        limit: MemoryLimit,
        start: Callable[[ScorerSlot], None],
        replace: Callable[[ScorerSlot, ScorerSlot], None],
    ) -> None:
        """`start` fills a slot that is down; `replace` puts the second slot in place of the first.

        A start that fails is reported by `start_failed`, and tried again after a pause that grows
        with the number of failures in a row, as for any scorer.
        """
        self.num_recycled = 0
        self.successor: ScorerSlot | None = None
        self._name = name
        self._limit = limit
        self._start = start
        self._replace = replace
        self._predecessor: ScorerSlot | None = None
        self._memory_mb = 0.0
        self._num_failures = 0  # starts of successors that failed in a row
        self._not_before = 0.0  # when the next may start, in s of the monotonic clock
        self._has_warned = False

    def warn_if_blind(self) -> None:
        """Log once that the memory of processes is unknown, so that none will be replaced."""
        if own_memory_mb(os.getpid()) is None:
            _log.warning("scorer_memory_unknown", lane=self._name)

    def on_free(self, slot: ScorerSlot) -> None:
        """A batch of the slot has ended, and it has no other yet; replace it if it is too large."""
        if self.successor is not None:
            self.on_ready()
            return
        now = time.monotonic()
        if now < self._not_before or not self._limit.is_due(slot.looked_at, now):
            return
        is_first_look, slot.looked_at = slot.looked_at == slot.ready_at, now
        memory_mb = own_memory_mb(slot.pid)
        if memory_mb is not None and self._limit.is_exceeded(memory_mb):
            if is_first_look:
                self._warn_of_churn(memory_mb)
            self._memory_mb = memory_mb
            self._predecessor = slot
            self.successor = slot.successor()
            self._start(self.successor)

    def on_ready(self) -> None:
        """Replace the scorer if its successor is ready and it has no batch."""
        slot, successor = self._predecessor, self.successor
        if slot is None or successor is None or successor.state is not SlotState.READY:
            return
        if slot.batch or slot.state is not SlotState.READY:
            return
        self.give_up()
        self._num_failures = 0
        self.num_recycled += 1
        _log.info(
            "scorer_recycled",
            lane=self._name,
            pid=slot.pid,
            memory_mb=round(self._memory_mb),
            successor=successor.pid,
        )
        self._replace(slot, successor)

    def give_up(self) -> ScorerSlot | None:
        """Forget the current replacement; returns its successor, which the caller must end."""
        successor, self.successor, self._predecessor = self.successor, None, None
        return successor

    def start_failed(self) -> None:
        """The successor's process has ended before it took its place."""
        self.give_up()
        self._num_failures += 1
        pause_s = restart_delay_s(self._num_failures, random.random)
        self._not_before = time.monotonic() + pause_s

    def _warn_of_churn(self, memory_mb: float) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "scorer_outgrown_at_once",
                lane=self._name,
                memory_mb=round(memory_mb),
                limit_mb=self._limit.max_mb,
                hint="over worker.scorer_max_memory_mb at the first look: is that below its needs?",
            )

    def is_replacing(self, slot: ScorerSlot) -> bool:
        """Whether a successor is to take this slot's place."""
        return slot is self._predecessor
