"""Keeps what is known of the shards of searched collections, as it is in Redis.

That is the shards' summaries (`SummaryStore`), and what words weigh (`StatisticsStore`).
"""

import asyncio
from typing import Final, Protocol

import structlog

from hedgerow.common.errors import RedisUnavailableError, WireError
from hedgerow.common.query.shard_summary import unpack_summary
from hedgerow.common.query.word_frequencies import unpack_frequencies
from hedgerow.common.state.batched import batched
from hedgerow.common.state.statistics import StatisticsStore
from hedgerow.common.state.summaries import SummaryStore, is_of
from hedgerow.gateway.search.skipping.collection_summaries import CollectionSummaries, RankedBy
from hedgerow.gateway.search.skipping.skipper import Skipper
from hedgerow.gateway.views.freshness import keep_fresh

POLL_S: Final = 1.0
_READ_AT_ONCE: Final = 8  # summaries
_COLLECTIONS_AT_ONCE: Final = 20  # at each look, so that it takes 2 ms at most

log = structlog.get_logger()


class Server(Protocol):
    """The connection over which stamps are read: a `StampCheck`."""

    @property
    def identity(self) -> str:
        """The server's; "" while there is no connection."""

    def begin(self) -> None:
        """Connect in the background."""

    async def close(self) -> None:
        """Close the connection."""

    async def identify(self) -> str:
        """Ask the server for its identity."""


class SummaryReading:
    """Fills `Skipper.collections`."""

    def __init__(
        self,
        store: SummaryStore,
        statistics: StatisticsStore,
        server: Server,
        num_shards: int,
        max_bytes: int,
    ) -> None:
        """Read nothing yet; `run` does.

        Args:
            store: the summaries.
            statistics: what words weigh.
            server: the connection over which stamps are read.
            num_shards: shards in the cluster.
            max_bytes: most bytes of all that is kept.
        """
        self._store = store
        self._statistics = statistics
        self._server = server
        self._shards = range(num_shards)
        self._max_bytes = max_bytes
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """A collection is searched whose summaries are not kept yet."""
        self._woken.set()

    async def run(self, skipper: Skipper) -> None:
        """Keep the summaries of `skipper` fresh until cancelled."""
        if not self._max_bytes:
            return
        self._server.begin()
        try:
            await keep_fresh("summaries", lambda: self.refresh(skipper), self._woken, POLL_S)
        finally:
            await self._server.close()

    async def refresh(self, skipper: Skipper) -> None:
        """Read what has changed of the collections that are searched.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        skipper.forget_unused()
        if not skipper.collections:
            return
        identity = await self._server.identify()
        # Those that were read longest ago, or never.
        due = sorted(skipper.collections.values(), key=lambda one: one.read_at)
        for uid in [one.uid for one in due[:_COLLECTIONS_AT_ONCE]]:
            stamps = await self._store.stamps(uid, self._shards)
            held = skipper.collections.get(uid)
            if held is None:
                continue
            held.read_at = asyncio.get_running_loop().time()
            for shard, stamp in stamps.items():
                known = held.stamp(shard)
                if known and (known != stamp or not is_of(known, identity)):
                    held.drop(shard)
            new = [
                shard
                for shard, stamp in stamps.items()
                if is_of(stamp, identity) and stamp != held.stamp(shard)
            ]
            for some in batched(new, _READ_AT_ONCE):
                await self._take(skipper, uid, list(some), identity)
            await self._rank(skipper, held)

    async def _rank(self, skipper: Skipper, held: CollectionSummaries) -> None:
        """Keep what words weigh now, if there is room."""
        version = await self._statistics.words_version(held.uid)
        if version == (b"" if held.ranked_by is None else held.ranked_by.version):
            return
        version, packed = await self._statistics.words_of(held.uid)
        held.rank_by(None)
        if not packed or len(packed) > self._num_free(skipper):
            return
        try:
            held.rank_by(RankedBy(version, unpack_frequencies(packed)))
        except WireError as error:
            log.debug("word_frequencies_ignored", uid=held.uid, reason=str(error))

    def _num_free(self, skipper: Skipper) -> int:
        """How many bytes more may be kept."""
        return self._max_bytes - sum(one.size for one in skipper.collections.values())

    async def _take(self, skipper: Skipper, uid: str, shards: list[int], identity: str) -> None:
        found = await self._store.read(uid, shards)
        # Of another server, a stamp says nothing.
        if self._server.identity != identity:
            raise RedisUnavailableError("the connection was lost meanwhile")
        held: CollectionSummaries | None = skipper.collections.get(uid)
        for shard, (stamp, packed) in found.items():
            num_free = self._num_free(skipper)
            if held is None or not is_of(stamp, identity) or len(packed) > num_free:
                continue
            try:
                held.take(shard, stamp, unpack_summary(packed))
            except WireError as error:
                log.debug("summary_ignored", uid=uid, shard=shard, reason=str(error))
