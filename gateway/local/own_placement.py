"""The placement of a cluster whose workers all run on this machine, as it is when they start.

Its workers join, so shards may move between them while they run. Before they start, shards move by
renaming folders, and the placement is made to say what the folders hold: nothing is copied, and no
worker waits for another one.
"""

from collections.abc import Iterable, Mapping

from hedgerow.common.placement.document import NOT_PLACED, Placement, ShardPlacement
from hedgerow.common.placement.members import Cluster, Member
from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.placement.target import target_of
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.local.placement import place


def assign(
    num_shards: int,
    num_replicas: int,
    stored: Mapping[str, frozenset[int]],
    present: Placement | None,
) -> list[frozenset[str]]:
    """Decide which workers start with which shard; as few as possible of the replicas move. Pure.

    Args:
        num_shards: shards of the cluster.
        num_replicas: workers that each shard gets; at most as many as there are.
        stored: worker → the shards whose data is in its folder; names all workers that will run.
        present: the placement when the cluster last ran; None if that is not known.
    """
    names = list(stored)
    if not any(stored.values()):
        served = place(num_shards, len(names), num_replicas)
        return [
            frozenset(name for name, shards in zip(names, served, strict=True) if shard in shards)
            for shard in range(num_shards)
        ]
    owned = [frozenset[str]()] * num_shards
    if present is not None:
        owned = [frozenset(present.of(shard).owners) for shard in range(num_shards)]
    members = tuple(
        Member(
            name,
            stored=shards,
            ready=frozenset(
                shard for shard in shards if shard < num_shards and name in owned[shard]
            ),
        )
        for name, shards in stored.items()
    )
    held = [
        ShardPlacement(tuple(name for name in names if shard in stored[name]))
        for shard in range(num_shards)
    ]
    target = target_of(Cluster(num_shards, members), held, num_replicas, replace_before_ms=0)
    return list(target)


class OwnPlacement:
    """Reads, decides and stores the placement, while no worker runs that could change it.

    Attributes:
        version: of what was stored; 0 before that.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        """Use the placement of a cluster that only this process serves."""
        self.version = 0
        self._control = control
        self._store = PlacementStore(control, keys)
        self._registry = Registry(control, keys)
        self._present: Placement | None = None
        self._shards: tuple[ShardPlacement, ...] = ()
        self._num_replicas = 1

    async def num_replicas(self) -> int | None:
        """How many replicas each shard should have; None if the placement is not known.

        Raises:
            RedisUnavailableError: Redis does not answer.
            WireError: the placement is malformed, or of a newer version.
        """
        present = await self._store.read()
        return present.replicas if present is not None else None

    async def decide(
        self, num_shards: int, num_replicas: int, stored: Mapping[str, frozenset[int]]
    ) -> list[list[int]]:
        """Decide what each worker starts with; see `assign`.

        Returns:
            For each worker of `stored`, in its order, the shards.

        Raises:
            RedisUnavailableError: Redis does not answer.
            WireError: the placement is malformed, or of a newer version.
        """
        self._present = await self._store.read()
        assigned = assign(num_shards, num_replicas, stored, self._present)
        self._shards = tuple(_placed(shard, self._present, to) for shard, to in enumerate(assigned))
        self._num_replicas = num_replicas
        return [[shard for shard, names in enumerate(assigned) if name in names] for name in stored]

    async def keep(self) -> None:
        """Store what was decided, as the version that workers start with. No worker drains then.

        Raises:
            RedisUnavailableError: Redis does not answer.
        """
        present = self._present
        if present is None or (present.shards, present.replicas) != (
            self._shards,
            self._num_replicas,
        ):
            version = 1 if present is None else present.version + 1
            now_ms = await self._control.now_ms()
            num_shards = len(self._shards)
            present = Placement(version, num_shards, self._num_replicas, now_ms, self._shards)
        await self._start_with(present)
        self.version = present.version

    async def clear(self) -> None:
        """Leave no placement, for workers that are pinned.

        Raises:
            RedisUnavailableError: Redis does not answer.
        """
        await self._start_with(None)

    async def lacking(self, workers: Iterable[str]) -> dict[str, str]:
        """Worker → why it does not hold what it starts with, of those that do not; "" if unknown.

        Raises:
            RedisUnavailableError: Redis does not answer.
        """
        beats = await self._registry.heartbeats()
        lacking = {}
        for worker in workers:
            beat = beats.get(worker)
            if beat is None:
                lacking[worker] = ""
            elif beat.placement < self.version:
                reasons = (f"shard {shard}: {why}" for shard, why in beat.unready.items())
                lacking[worker] = "; ".join(reasons)
        return lacking

    async def _start_with(self, placement: Placement | None) -> None:
        # Heartbeats that a killed cluster has left would count as those of members.
        for worker in await self._registry.heartbeats():
            await self._registry.forget_worker(worker)
        await self._store.begin(placement)


def _placed(shard: int, present: Placement | None, names: frozenset[str]) -> ShardPlacement:
    """The placement of a shard, in the order that it had if it names the same workers."""
    before = NOT_PLACED if present is None else present.of(shard)
    if not before.joining and frozenset(before.owners) == names:
        return before
    return ShardPlacement(tuple(sorted(names)))
