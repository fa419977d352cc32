"""Typed reads and writes of the cluster's collections, workers and counts.

They are stored in Redis under the keys of `common.redis.keys`. A change of anything that other
processes keep a copy of is announced on the events channel.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import structlog

from hedgerow.common.errors import WireError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.batched import batched
from hedgerow.common.state.beat_dates import BeatDates
from hedgerow.common.state.cluster_facts import ClusterFacts
from hedgerow.common.state.registry_scripts import FORGET
from hedgerow.common.state.stored_collections import StoredCollections
from hedgerow.common.wire.heartbeat import Heartbeat

_COUNTED_AT_ONCE = 64  # collections
_SET_AT_ONCE = 200  # counts, which take some 2 ms of CPU

_log = structlog.get_logger()


class Registry(ClusterFacts, StoredCollections):
    """The cluster's collections, workers and counts, over one `RedisClient`.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        super().__init__(control, keys)
        self._beats: dict[bytes, tuple[bytes, Heartbeat]] = {}  # by worker, as they were last read
        self._dates = BeatDates()

    # Workers

    async def heartbeats(self) -> dict[str, Heartbeat]:
        """Every worker's last heartbeat by its id, stale ones included; see `dated`."""
        stored: dict[bytes, bytes] = await self._control.execute("HGETALL", self.keys.workers)
        before, beats = self._beats, {}
        for worker, packed in stored.items():
            known = before.get(worker)
            if known is None or known[0] != packed:
                try:
                    known = packed, Heartbeat.unpack(packed)
                except WireError as error:
                    _log.debug("heartbeat_ignored", worker=worker, reason=str(error))
                    continue
            beats[worker] = known
        self._beats = beats
        return {worker.decode(errors="replace"): beat for worker, (_, beat) in beats.items()}

    async def live_heartbeats(self, expiry_s: float) -> dict[str, Heartbeat]:
        """Worker id → last heartbeat, of the workers with one within `expiry_s`."""
        heartbeats = await self.heartbeats()
        now_ms = await self._control.now_ms()
        return {
            worker: heartbeat
            for worker, heartbeat in self.dated(heartbeats, now_ms).items()
            if heartbeat.beat_at_ms > now_ms - expiry_s * 1000
        }

    def dated(self, heartbeats: Mapping[str, Heartbeat], now_ms: float) -> dict[str, Heartbeat]:
        """Heartbeats that were just read, with dates to compare with the server's clock, `now_ms`.

        They differ from those that were sent only if that clock was set back (`BeatDates`).
        """
        sent_ms = {worker: beat.beat_at_ms for worker, beat in heartbeats.items()}
        dates = self._dates.dated(sent_ms, now_ms, asyncio.get_running_loop().time())
        return {
            worker: beat
            if beat.beat_at_ms == dates[worker]
            else replace(beat, beat_at_ms=dates[worker])
            for worker, beat in heartbeats.items()
        }

    async def beat(self, heartbeat: Heartbeat, *, is_changed: bool = False) -> None:
        """Store a heartbeat; announce a worker's first one, and one that `is_changed`."""
        is_new = await self._control.execute(
            "HSET", self.keys.workers, heartbeat.id, heartbeat.pack()
        )
        if is_new or is_changed:
            await self.announce("workers")

    async def heartbeat(self, worker: str) -> Heartbeat | None:
        """The last heartbeat sent under a worker's id; None if there is none that can be read."""
        packed: bytes | None = await self._control.execute("HGET", self.keys.workers, worker)
        try:
            return Heartbeat.unpack(packed) if packed is not None else None
        except WireError:
            return None

    async def forget_worker(self, worker_id: str, sent: Sequence[Heartbeat] | None = None) -> None:
        """Remove a worker's heartbeat: it drains, or has been gone for a long time.

        Args:
            worker_id: the worker's name.
            sent: remove the heartbeat only if it is one of these: if a worker was started under the
                same name while the earlier one drained, it has stored another. None for any.
        """
        if sent is None:
            await self._control.execute("HDEL", self.keys.workers, worker_id)
        else:
            packed = [heartbeat.pack() for heartbeat in sent]
            await self._control.execute("EVAL", FORGET, 1, self.keys.workers, worker_id, *packed)
        await self.announce("workers")

    # Counts

    async def document_counts(self, uid: str) -> dict[int, int]:
        """Shard → number of documents of one collection; only shards that have ever held one."""
        return (await self.document_counts_of([uid]))[uid]

    async def document_counts_of(self, uids: Iterable[str]) -> dict[str, dict[int, int]]:
        """`document_counts` of several collections, in a round trip for every few of them."""
        counts: dict[str, dict[int, int]] = {}
        for some in batched(uids, _COUNTED_AT_ONCE):
            replies = await self._control.pipeline(
                [("HGETALL", self.keys.documents(uid)) for uid in some]
            )
            for uid, reply in zip(some, replies, strict=True):
                counts[uid] = {int(shard): int(count) for shard, count in reply.items()}
        return counts

    async def set_document_counts(
        self, shard: int, counts: Mapping[str, int], dropped: Iterable[str] = ()
    ) -> None:
        """Store how many documents of each collection a shard has; remove dropped collections."""
        commands: Iterator[Command] = chain(
            (("HSET", self.keys.documents(uid), shard, n) for uid, n in counts.items()),
            (("HDEL", self.keys.documents(uid), shard) for uid in dropped),
        )
        # A collection's count is that of the batch that was applied, or of the one before.
        for some in batched(commands, _SET_AT_ONCE):
            await self._control.pipeline(some)

    async def forget_counts(self, shard: int, held: Iterable[str]) -> None:
        """Remove a shard's counts of collections that it does not hold and that do not exist."""
        kept = {*held, *await self.uids()}
        start = self.keys.documents("")
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", start) + "*"
        cursor, found = b"0", set[bytes]()
        while True:
            cursor, some = await self._control.execute(
                "SCAN", cursor, "MATCH", pattern, "COUNT", 1000
            )
            found.update(some)
            if int(cursor) == 0:
                break
        uids = {key.decode(errors="replace").removeprefix(start) for key in found} - kept
        await self.set_document_counts(shard, {}, uids)

    async def backlog(self, shards: Iterable[int]) -> dict[int, int]:
        """Shard → search requests that wait for a worker."""
        asked = list(shards)
        lengths = await self._control.pipeline_of_shards(
            [(shard, ("LLEN", self.keys.search_queue(shard))) for shard in asked]
        )
        return dict(zip(asked, (int(length) for length in lengths), strict=True))
