"""Shapes of the placement: which worker should serve which shard, and what moves."""

from typing import Annotated, Literal

import msgspec

from hedgerow.gateway.shapes.doc import doc
from hedgerow.gateway.shapes.split import RunningSplit


class PlacedWorker(msgspec.Struct, frozen=True):
    """A worker that joined."""

    id: str
    host: str
    zone: Annotated[str, doc("The setting `worker.zone`.")]
    capacity: Annotated[float, doc("The setting `worker.capacity`.")]
    live: Annotated[bool, doc("Whether it sends heartbeats.")]
    lost_for_s: Annotated[
        float | None, doc("For how long it has sent no heartbeat, in s; null if it is live.")
    ]
    draining: Annotated[bool, doc("Whether it is to lose all of its shards.")]
    drained: Annotated[
        bool, doc("Whether it is draining and holds nothing any more: it can be switched off.")
    ]
    owns: Annotated[int, doc("Shards of which it is an owner.")]
    joining: Annotated[int, doc("Shards that it is preparing to serve.")]
    serves: Annotated[int, doc("Shards that it serves now.")]
    version: Annotated[int, doc("The version of the placement that it has carried out.")]


class PlacedShard(msgspec.Struct, frozen=True):
    """The placement of a shard."""

    shard: int
    owners: Annotated[list[str], doc("The workers that are to serve it.")]
    joining: Annotated[
        list[str], doc("The workers that are preparing to serve it, and will then be owners.")
    ]
    serving: Annotated[list[str], doc("The workers that serve it now, pinned ones included.")]
    pinned: Annotated[bool, doc("Whether pinned workers serve it, so that it needs no owner.")]


class ShardMove(msgspec.Struct, frozen=True):
    """A worker is, or will be, given a shard."""

    shard: int
    worker: str
    replaces: Annotated[
        str | None, doc("The owner that the worker replaces; null if it is an additional one.")
    ]
    state: Annotated[
        Literal["joining", "waiting"],
        doc("joining: the worker is preparing it; waiting: it will, after other moves."),
    ]
    behind: Annotated[
        int | None,
        doc(
            "Log entries that are still to be applied; null until the worker has restored the "
            "shard."
        ),
    ] = None
    error: Annotated[
        str | None, doc("Why the worker could not take it up; it tries again. null if it could.")
    ] = None


class PlacementAnswer(msgspec.Struct, frozen=True):
    """The placement, and what the policy will change."""

    version: Annotated[int, doc("0 if there is none: no worker has joined.")]
    replicas: Annotated[int, doc("Workers that each shard should have.")]
    computed_at_ms: Annotated[int, doc("When this version was computed, in ms since 1970.")]
    is_settled: Annotated[
        bool,
        doc(
            "Whether nothing moves or will, as things are now. Moves that wait all the same need "
            "snapshots (`snapshots.url`)."
        ),
    ]
    workers: list[PlacedWorker]
    shards: list[PlacedShard]
    moves: Annotated[list[ShardMove], doc("By shard.")]
    split: Annotated[
        RunningSplit | None,
        doc("The split of the shards in progress, which `GET /v1/split` has too; null if none is."),
    ] = None


class RebalanceAnswer(msgspec.Struct, frozen=True):
    """What a request to rebalance has done."""

    replaced: Annotated[list[str], doc("Lost workers whose return is no longer waited for.")]
