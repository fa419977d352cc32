"""The placement of a cluster: a versioned document that names the workers of each shard.

Only workers that joined (`worker.join`) are in it. Such a worker holds exactly the shards that name
it, as an **owner**, which serves the shard, or as **joining**: it restores the shard and follows
its log, and when its heartbeat lists the shard, the next version makes it an owner. A cluster of
pinned workers has no placement.
"""

import msgspec

from hedgerow.common.wire.formats import read_document

FORMAT = 1  # of the JSON; members that a newer version adds are ignored


class ShardPlacement(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which workers hold a shard.

    Attributes:
        owners: the workers that serve it; none if only pinned workers do, or no worker can.
        joining: the workers that are preparing to serve it.
    """

    owners: tuple[str, ...] = ()
    joining: tuple[str, ...] = ()

    @property
    def holders(self) -> tuple[str, ...]:
        """The owners, and the workers that are joining."""
        return self.owners + self.joining


NOT_PLACED = ShardPlacement()


class Placement(msgspec.Struct, frozen=True):
    """One version of the placement.

    Attributes:
        version: 1 for the first; each change adds 1.
        num_shards: shards of the cluster.
        replicas: owners that each shard should have.
        computed_at_ms: when it was computed, an instant on the Redis server's clock.
        shards: the placement of each shard, by its number.
        format: the version of the document's form.
    """

    version: int  # stays first: the script of `store` reads it from the start of the JSON
    num_shards: int
    replicas: int
    computed_at_ms: int
    shards: tuple[ShardPlacement, ...]
    format: int = FORMAT

    def of(self, shard: int) -> ShardPlacement:
        """The placement of a shard; of one that was not placed yet, an empty one."""
        return self.shards[shard] if 0 <= shard < len(self.shards) else NOT_PLACED

    def held_by(self, worker: str) -> frozenset[int]:
        """The shards that name a worker, as owner or joining."""
        return frozenset(
            shard
            for shard, placed in enumerate(self.shards)
            if worker in placed.owners or worker in placed.joining
        )

    def to_json(self) -> bytes:
        """Write it as JSON."""
        return _encode(self)

    @classmethod
    def from_json(cls, data: bytes) -> "Placement":
        """Read a placement, which a newer version of Hedgerow may have written.

        Raises:
            NewerVersionError: it has a form that this version does not know.
            WireError: it is malformed.
        """
        return read_document("placement", data, FORMAT, _decode)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Placement).decode
