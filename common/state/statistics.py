"""The shards' term statistics and their sum, as stored in Redis between the jobs that compute them.

A shard's statistics carry a label, with the replica from which they were collected and its state;
the sum carries a version made of all labels. So every process can see, without reading the
statistics, whether the sum is that of the shards' newest ones. With the label, the position is
stored up to which the statistics count the shard's log, so that a load can wait for them.

Each replica counts its own changes (batches are cut differently), so a label says nothing about
another replica's state. While the label's replica is served, only its worker decides when the
shard's statistics are due; the replica that then collects them is named in the next label. When it
is gone, the other replicas decide again.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.state.batched import batched

EVENT = "statistics"
BULK_SHARE = 0.02  # of the documents; fewer changes wait for worker.statistics_interval_s
VERSION_BYTES = 16
_ASKED_AT_ONCE = 700  # labels and versions, which take some 2 ms of CPU
_CLAIM_MS = 10_000  # many times the time of a sum
# Not SET with GET: redis-py makes a bool of any reply to SET. A claim that has more left than it
# had at first was made before the server's clock was set back, and does not count.
_CLAIM = """
local is_claimed = redis.call('GET', KEYS[1]) == ARGV[1]
if is_claimed and redis.call('PTTL', KEYS[1]) <= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
# Fields beside each shard's own, in the same hash.
_LABEL = b"label:"
_POSITION = b"position:"
_WORDS = b"words"
_WORDS_VERSION = b"words-version"


def label_of(replica_id: str, changes: int) -> str:
    """The label of a replica's state after a number of changes."""
    return f"{replica_id}:{changes}"


def replica_of(label: str | None) -> str | None:
    """The replica from which statistics with this label were collected."""
    return label.partition(":")[0] if label else None


def changes_of(label: str | None, replica_id: str) -> int | None:
    """The changes that a label counts; None if it is another replica's label."""
    replica, _, changes = (label or "").partition(":")
    return int(changes) if replica == replica_id else None


class StatisticsStatus(NamedTuple):
    """The labels and version of one collection's statistics.

    Attributes:
        labels: shard → label of its statistics.
        version: of the sum; b"" if there is none.
    """

    labels: Mapping[int, str]
    version: bytes

    @property
    def is_current(self) -> bool:
        """Whether the sum is that of the shards' newest statistics."""
        return self.version == version_of(self.labels)


def version_of(labels: Mapping[int, str]) -> bytes:
    """The version of a sum over statistics with these labels; b"" of none."""
    if not labels:
        return b""
    text = ";".join(f"{shard}={label}" for shard, label in sorted(labels.items()))
    return blake2b(text.encode(), digest_size=VERSION_BYTES).digest()


class StatisticsStore:
    """Reads and writes term statistics, as opaque bytes.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def status(self, uids: Iterable[str], num_shards: int) -> dict[str, StatisticsStatus]:
        """The labels and versions of these collections' statistics.

        There is a round trip for every few collections, so that many do not hold the event loop up.
        """
        fields = [_LABEL + str(shard).encode() for shard in range(num_shards)]
        found: dict[str, StatisticsStatus] = {}
        for some in batched(uids, max(1, _ASKED_AT_ONCE // (num_shards + 1))):
            commands: list[Command] = []
            for uid in some:
                commands += [
                    ("HMGET", self._keys.shard_statistics(uid), *fields),
                    ("GETRANGE", self._keys.statistics(uid), 0, VERSION_BYTES - 1),
                ]
            replies = await self._control.pipeline(commands)
            for uid, labels, version in zip(some, replies[::2], replies[1::2], strict=True):
                known = {at: one.decode() for at, one in enumerate(labels) if one is not None}
                found[uid] = StatisticsStatus(known, version)
        return found

    async def put_shard(
        self, uid: str, shard: int, label: str, statistics: bytes, entry_id: str
    ) -> None:
        """Store one shard's statistics with a label; they count the log up to an entry."""
        await self._control.execute(
            "HSET",
            self._keys.shard_statistics(uid),
            shard,
            statistics,
            _LABEL + str(shard).encode(),
            label,
            _POSITION + str(shard).encode(),
            entry_id,
        )

    async def put_position(self, uid: str, shard: int, entry_id: str) -> None:
        """Record that a shard's stored statistics are valid up to an entry of its log."""
        await self._control.execute(
            "HSET", self._keys.shard_statistics(uid), _POSITION + str(shard).encode(), entry_id
        )

    async def missing(self, uid: str, ends: Mapping[int, str]) -> set[int]:
        """The shards whose statistics do not count their log up to the entry in `ends`."""
        fields = [_POSITION + str(shard).encode() for shard in ends]
        found = await self._control.execute("HMGET", self._keys.shard_statistics(uid), *fields)
        return {
            shard
            for (shard, end), counted in zip(ends.items(), found, strict=True)
            if position((counted or START.encode()).decode()) < position(end)
        }

    async def claim_sum(self, uid: str, version: bytes) -> bool:
        """Claim the sum of this version; return whether no other worker has claimed it.

        A claim expires even if others keep asking for it, since its worker may have died.
        """
        key = self._keys.statistics_claim(uid)
        return bool(await self._control.execute("EVAL", _CLAIM, 1, key, version, _CLAIM_MS))

    async def announce(self, event: str) -> None:
        """Announce an event to all gateways and workers."""
        await self._control.execute("PUBLISH", self._keys.events, event)

    async def shards(self, uid: str) -> tuple[dict[int, str], list[bytes]]:
        """Every shard's label, and the statistics of each."""
        stored: dict[bytes, bytes] = await self._control.execute(
            "HGETALL", self._keys.shard_statistics(uid)
        )
        labels = {
            int(field.removeprefix(_LABEL)): value.decode()
            for field, value in stored.items()
            if field.startswith(_LABEL)
        }
        return labels, [stored[str(shard).encode()] for shard in sorted(labels)]

    async def put_sum(
        self, uid: str, labels: Mapping[int, str], statistics: bytes, words: bytes
    ) -> None:
        """Store the sum of the statistics with these labels, and announce it.

        Args:
            uid: the collection's.
            labels: shard → label of its statistics.
            statistics: the sum.
            words: its most frequent words (`common.query.word_frequencies`).
        """
        version = version_of(labels)
        kept = {_WORDS_VERSION: version, _WORDS: words}
        about = [part for pair in kept.items() for part in pair]
        await self._control.pipeline(
            [
                ("HSET", self._keys.shard_statistics(uid), *about),
                ("SET", self._keys.statistics(uid), version + statistics),
                ("PUBLISH", self._keys.events, EVENT),
            ]
        )

    async def sum_of(self, uid: str) -> tuple[bytes, bytes]:
        """The version of the sum, and the sum; both b"" if there is none."""
        stored: bytes = await self._control.execute("GET", self._keys.statistics(uid)) or b""
        return stored[:VERSION_BYTES], stored[VERSION_BYTES:]

    async def lend(self, uid: str, version: bytes, statistics: bytes) -> None:
        """Store the sum of another layout's shards, if there is none; no label is of its version.

        Workers rank by it, and fit their indexes to it, until there is a sum of its own.
        """
        key = self._keys.statistics(uid)
        await self._control.execute("SETNX", key, version + statistics)

    async def words_version(self, uid: str) -> bytes:
        """The version of the sum of which the most frequent words are stored; b"" for none."""
        key = self._keys.shard_statistics(uid)
        return await self._control.execute("HGET", key, _WORDS_VERSION) or b""

    async def words_of(self, uid: str) -> tuple[bytes, bytes]:
        """That version, and the words; both b"" if there are none."""
        key = self._keys.shard_statistics(uid)
        version, words = await self._control.execute("HMGET", key, _WORDS_VERSION, _WORDS)
        return version or b"", words or b""
