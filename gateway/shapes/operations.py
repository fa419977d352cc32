"""Shapes for operators: breakers set by hand, snapshots, the quarantine, shortages."""

from typing import Annotated, Literal

import msgspec

from hedgerow.gateway.shapes.doc import doc

ByHand = Literal["forced_open", "disabled", "closed"]


class BreakerBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The state to set a breaker to."""

    state: ByHand


class SnapshotAnswer(msgspec.Struct, frozen=True):
    """When snapshots were requested."""

    wanted_at_ms: Annotated[
        int,
        doc(
            "A shard has its snapshot once `snapshots[].made_at_ms` in the status is not before "
            "this."
        ),
    ]
    shards: Annotated[int, doc("How many snapshots there will be.")]


class ReloadAnswer(msgspec.Struct, frozen=True):
    """What a reload has brought."""

    rank_profiles: Annotated[list[str], doc("The rank profiles there are now.")]
    workers: Annotated[list[str], doc("The workers that have taken them.")]


class ShortageStatus(msgspec.Struct, frozen=True):
    """A shortage at a worker, at the server or at this gateway."""

    where: Annotated[str, doc("The worker's id, redis, or gateway.")]
    shards: Annotated[list[int], doc("The shards of the worker.")]
    resource: Annotated[
        Literal["disk", "memory", "descriptors", "processes"],
        doc("During a shortage of disk or memory, writes are refused."),
    ]
    state: Literal["low", "full", "read_only"]
    detail: Annotated[str, doc("The shortage, in words.")]
    since_ms: Annotated[int, doc("Since when, in ms since 1970.")]
    free_bytes: Annotated[int | None, doc("Free bytes; null if unknown.")]


class QuarantinedQuery(msgspec.Struct, frozen=True):
    """A query that has killed scorers."""

    fingerprint: Annotated[str, doc("The same for queries that count as the same.")]
    query: Annotated[str, doc("Its beginning.")]
    kills: Annotated[int, doc("Scorers that died while running it, in all workers.")]
    refused: Annotated[bool, doc("Whether it has killed enough scorers to be refused.")]
    until_ms: Annotated[int, doc("When it will be forgotten, in ms since 1970 by Redis's clock.")]
    workers: Annotated[list[str], doc("The workers whose scorers died.")]


class QuarantineAnswer(msgspec.Struct, frozen=True):
    """The queries that have killed scorers."""

    quarantine: list[QuarantinedQuery]
