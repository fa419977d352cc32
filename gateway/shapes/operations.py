"""What operators ask for and see: breakers by hand, snapshots, the quarantine, what runs out."""

from typing import Annotated, Literal

import msgspec

from hedgerow.gateway.shapes.doc import doc

ByHand = Literal["forced_open", "disabled", "closed"]


class BreakerBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a breaker is set to by hand."""

    state: ByHand


class SnapshotAnswer(msgspec.Struct, frozen=True):
    """When snapshots were asked for."""

    wanted_at_ms: Annotated[
        int,
        doc(
            "A shard has its snapshot once `snapshots[].made_at_ms` in the status is not before "
            "this."
        ),
    ]
    shards: Annotated[int, doc("How many snapshots there will be.")]


class ShortageStatus(msgspec.Struct, frozen=True):
    """Something that runs out at a worker, at the server or at the gateway that answers."""

    where: Annotated[str, doc("The worker's id, redis, or gateway.")]
    shards: Annotated[list[int], doc("The shards that the worker stores.")]
    resource: Annotated[
        Literal["disk", "memory", "descriptors", "processes"],
        doc("While disk or memory runs out, writes are refused."),
    ]
    state: Literal["low", "full", "read_only"]
    detail: Annotated[str, doc("How much is left, in words.")]
    since_ms: Annotated[int, doc("Since when, in ms since 1970.")]
    free_bytes: Annotated[int | None, doc("What is left; null if unknown.")]


class QuarantinedQuery(msgspec.Struct, frozen=True):
    """A query that has killed scorers."""

    fingerprint: Annotated[str, doc("What counts as the same query.")]
    query: Annotated[str, doc("Its beginning.")]
    kills: Annotated[int, doc("Scorers that died under it, in all workers.")]
    refused: Annotated[bool, doc("Whether it has killed enough to be refused.")]
    until_ms: Annotated[int, doc("When it is forgotten, in ms since 1970 by Redis's clock.")]
    workers: Annotated[list[str], doc("Whose scorers died.")]


class QuarantineAnswer(msgspec.Struct, frozen=True):
    """The queries that have killed scorers."""

    quarantine: list[QuarantinedQuery]
