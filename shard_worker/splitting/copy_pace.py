"""The pace at which a worker copies the documents of shards that are split: queries go first.

    some documents are copied ► every replica of the new shards applies them ► all rest ► the next

Indexing costs far more than copying, and is done by other processes, so that the copiers go by how
long it takes: the rest is in proportion. On a slow or busy machine, copies are thus slower by
themselves. While searches wait for a scorer, a rest is prolonged, but not for ever. The workers of
a machine take turns (`machine_turns`), since they share its cores. Clones that idle threads make
may use them all. With more idle threads than cores, searches wait longer (docs/splitting.md).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from typing import Final, Protocol, Self

from hedgerow.common.settings.cores import num_cores
from hedgerow.common.settings.settings import Settings
from hedgerow.shard_worker.indexing.background_thread import HAS_IDLE

TURN_S: Final = 0.5  # about
# A commit of each replica costs as much as indexing 80 KB of short documents. On a busy machine, a
# turn takes long, but smaller ones would take longer in all.
SMALLEST_BYTES: Final = 500_000
LARGEST_BYTES: Final = 2_000_000  # in the memory of Redis, for each turn
CORES_OF_A_TURN: Final = 4  # two indexers at least, and what queries need beside them
THREADS_OF_A_CLONE: Final = 2  # one reads documents, and one indexes them


class Turns(Protocol):
    """The turns of a machine; see `machine_turns.MachineTurns`."""

    async def hold(self, shard: int, at_once: int) -> bool:
        """Take one of `at_once` turns for a shard, or keep it; return whether it has one now."""

    async def end(self, shard: int) -> None:
        """Let another shard have the turn."""

    def forget(self, shard: int) -> None:
        """Renew a shard's turn no longer: it ends by itself."""


class CopyPace:
    """What the copiers of a worker process share: their turns.

    Attributes:
        share: which part of the time may be spent on copies; 1 for no pace.
        most_log_entries: it does not rest once this many entries wait in a shard's log.
        is_busy: returns whether searches wait here.
        turn_bytes: how much to copy in the next turn.
    """

    def __init__(
        self,
        share: float,
        *,
        at_once: int = 1,
        idle_at_once: int = 1,
        most_log_entries: int = 500,
        is_busy: Callable[[], bool] = lambda: False,
        largest_bytes: int = LARGEST_BYTES,
        machine: Turns | None = None,
    ) -> None:
        """Let `at_once` shards be copied at a time, in the turns of `machine` if there are others.

        Attributes are described above; `largest_bytes` bounds `turn_bytes`, and `idle_at_once` is
        how many shards idle threads may clone at a time.
        """
        self.share = share
        self.most_log_entries = most_log_entries
        self.is_busy = is_busy
        self.turn_bytes = min(2 * SMALLEST_BYTES, largest_bytes)
        self._largest_bytes = largest_bytes
        self._at_once = at_once
        self._idle_at_once = idle_at_once
        self._machine = machine
        self._queue: dict[object, None] = {}

    @classmethod
    def of(
        cls, settings: Settings, is_busy: Callable[[], bool], machine: Turns | None = None
    ) -> Self:
        """The pace of a worker with these settings, on a machine with these turns."""
        at_once = max(1, num_cores() // CORES_OF_A_TURN)
        return cls(
            settings.placement.split_share,
            at_once=at_once,
            idle_at_once=max(1, num_cores() // THREADS_OF_A_CLONE) if HAS_IDLE else at_once,
            machine=machine,
            # Beyond the limit, gateways would have bulk loads wait.
            most_log_entries=settings.limits.max_log_entries // 2,
            is_busy=is_busy,
        )

    def adapt(self, took_s: float) -> None:
        """A turn took so long: copy more in the next if it was short, less if it was long."""
        if took_s < TURN_S / 2:
            self.turn_bytes = min(2 * self.turn_bytes, self._largest_bytes)
        elif took_s > TURN_S * 2:
            self.turn_bytes = max(self.turn_bytes // 2, SMALLEST_BYTES)

    @asynccontextmanager
    async def turn(
        self, shard: int, pause: Callable[[], Awaitable[None]], *, is_idle: bool = False
    ) -> AsyncIterator[None]:
        """Wait for a turn, which lasts until the block ends; with a share of 1, there are none.

        Args:
            shard: for which it is.
            pause: waits for a moment, and raises if the wait should end.
            is_idle: whether it is for an idle thread.
        """
        if self.share == 1.0:
            yield
            return
        with self.queued(is_idle=is_idle) as is_turn:
            while not (is_turn() and await self.keep(shard, is_idle=is_idle)):
                await pause()
            try:
                yield
            except BaseException:
                # Not given back: what has failed may be Redis, and what is cancelled ends now.
                if self._machine is not None:
                    self._machine.forget(shard)
                raise
            if self._machine is not None:
                await self._machine.end(shard)

    async def keep(self, shard: int, *, is_idle: bool = False) -> bool:
        """Take or keep a turn of the machine; return whether the shard has one now."""
        return self._machine is None or await self._machine.hold(shard, self._turns(is_idle))

    @contextmanager
    def queued(self, *, is_idle: bool = False) -> Iterator[Callable[[], bool]]:
        """Queue for a turn, which lasts until the block ends.

        Yields:
            A function that returns whether it is this one's turn: first come, first served.
        """
        place = object()
        self._queue[place] = None
        try:
            yield lambda: place in islice(self._queue, self._turns(is_idle))
        finally:
            del self._queue[place]

    def _turns(self, is_idle: bool) -> int:
        return self._idle_at_once if is_idle else self._at_once
