"""What an indexer reports of a shard, after each batch and when it is opened."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Any, NamedTuple

import msgpack

from hedgerow.common.fields.embedding_counts import NONE, EmbeddingCounts
from hedgerow.common.shard_log.judgement import Judgement
from hedgerow.common.shard_log.mirror_report import MirrorReport

MAX_FIRST_IDS = 1000
MAX_FIRST_BYTES = 64 * 1024  # of a collection's first ids; a thousand of the usual length


def pack_ids(first_ids: list[str]) -> bytes:
    """Pack the first ids of a collection, as many as fit into `MAX_FIRST_BYTES`."""
    sizes = accumulate(len(one.encode()) for one in first_ids)
    kept = [one for one, size in zip(first_ids, sizes, strict=True) if size <= MAX_FIRST_BYTES]
    packed: bytes = msgpack.packb(kept)
    return packed


def unpack_ids(packed: bytes) -> list[str]:
    """Unpack what `pack_ids` packed."""
    ids: list[str] = msgpack.unpackb(packed)
    return ids


class CollectionReport(NamedTuple):
    """What a shard holds of one collection.

    Attributes:
        uid: the collection's.
        definition: as JSON.
        documents: how many the shard holds.
        generation: of the text index; grows with each commit. 0 if there is no index yet.
        changes: how many documents were ever added, replaced or deleted here.
        first_ids: the smallest ids, ascending, by `pack_ids`. They stay packed until they are
            needed, since each batch reports those of all collections.
        segments: parts of the text index; a search reads each.
        missing: fields of the definition that the text index lacks, since they were added later.
        revision: of the definition.
        indexed: how many fields the text index has, the first of the definition; 0 where there is
            no index yet.
        graphs_due: whether its vectors need a graph, or more rows in one (`vectors.policy.Due`).
    """

    uid: str
    definition: str
    documents: int
    generation: int
    changes: int
    first_ids: bytes
    segments: int = 0
    missing: Sequence[str] = ()
    revision: int = 0
    indexed: int = 0
    graphs_due: int = 0


class ShardState(NamedTuple):
    """What a shard holds after a batch.

    Attributes:
        shard: its number.
        replica_id: of this copy of it.
        position: id of the last log entry that is applied.
        collections: one report each.
        skipped: collection uid → how many writes of the last batch were skipped because the shard
            has no such collection: it was dropped, or the writes are lost.
        judgements: of the last batch's conditional writes.
        mirrors: one report for each pair of collections of which one follows the other.
        embedded: what the indexer has embedded since it last reported, of whatever shard.
    """

    shard: int
    replica_id: str
    position: str
    collections: list[CollectionReport]
    skipped: Mapping[str, int] = MappingProxyType({})
    judgements: tuple[Judgement, ...] = ()
    mirrors: Sequence[MirrorReport] = ()
    embedded: EmbeddingCounts = NONE

    def pack(self) -> bytes:
        """Pack for sending from the indexer to the worker."""
        packed: bytes = msgpack.packb(
            (*self[:4], dict(self.skipped), list(self.judgements), list(self.mirrors), self[7])
        )
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> "ShardState":
        """Unpack what `pack` packed."""
        unpacked = msgpack.unpackb(data)
        shard, replica_id, applied, collections, skipped, judgements, mirrors, counts = unpacked
        reports = [CollectionReport(*one) for one in collections]
        judged = tuple(Judgement(*one) for one in judgements)
        pairs = [MirrorReport(*one) for one in mirrors]
        embedded = EmbeddingCounts(*counts)
        return cls(shard, replica_id, applied, reports, skipped, judged, pairs, embedded)


def fields_of(states: Mapping[int, ShardState]) -> dict[str, dict[int, Any]]:
    """The heartbeat's fields about what shards hold."""
    return {
        "changes": {
            shard: {report.uid: report.changes for report in state.collections}
            for shard, state in states.items()
        },
        "segments": {
            shard: {report.uid: report.segments for report in state.collections}
            for shard, state in states.items()
        },
        "indexed": {
            shard: {report.uid: report.indexed for report in state.collections if report.revision}
            for shard, state in states.items()
        },
        "mirrors": {
            shard: {one.mirror: list(one[1:]) for one in state.mirrors}
            for shard, state in states.items()
            if state.mirrors
        },
        "applied": {shard: state.position for shard, state in states.items()},
        "replicas": {shard: state.replica_id for shard, state in states.items()},
    }
