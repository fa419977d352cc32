"""The placement, for operators."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from hedgerow.common.errors import ConflictError, NotFoundError
from hedgerow.common.placement.document import NOT_PLACED, Placement
from hedgerow.common.placement.members import Cluster, Member, Observation, cluster_of, named_by
from hedgerow.common.placement.policy import Plan, Rules, plan
from hedgerow.common.placement.store import DRAINING, PlacementStore
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.layout import LayoutStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat


class PlacementAdmin:
    """Shows the placement, and what will change; drains workers.

    Every method raises RedisUnavailableError if Redis does not answer in time.
    """

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        registry: Registry,
        num_shards: int,
        settings: Settings,
        running_split: Callable[[], Awaitable[dict[str, Any] | None]],
    ) -> None:
        """Use the placement of a cluster.

        Args:
            control: the Redis client.
            keys: the names of keys in Redis.
            registry: has the heartbeats.
            num_shards: shards of the cluster.
            settings: `placement`, `snapshots.url` and `worker.heartbeat_expiry_s` apply.
            running_split: the split in progress, as `RunningSplit`.
        """
        self._store = PlacementStore(control, keys)
        self._layouts = LayoutStore(control, keys)
        self._registry = registry
        self._num_shards = num_shards
        self._expiry_s = settings.worker.heartbeat_expiry_s
        self._replace_after_s = settings.placement.replace_after_s
        self._rules = Rules.of(settings)
        self._running_split = running_split

    async def describe(self) -> dict[str, Any]:
        """The placement, as `PlacementAnswer`."""
        present, seen, cluster = await self._look()
        # Workers decide, by their settings; those of a gateway may be others.
        replicas = self._rules.replicas if present is None else present.replicas
        rules = replace(self._rules, replicas=replicas)
        decided = await asyncio.to_thread(plan, present, cluster, rules, seen.now_ms)
        moves = _moves(present, decided, seen)
        return {
            "version": 0 if present is None else present.version,
            "replicas": replicas,
            "computed_at_ms": 0 if present is None else present.computed_at_ms,
            "is_settled": decided.next is present
            and not any(move["state"] == "joining" for move in moves),
            "workers": [_worker_json(member, present, seen) for member in cluster.members],
            "shards": self._shards_json(present, seen, cluster),
            "moves": moves,
            "split": await self._running_split(),
        }

    async def drain(self, worker: str) -> None:
        """Let a worker lose its shards.

        Raises:
            NotFoundError: there is no such worker.
            ConflictError: its shards are pinned, or are being split.
        """
        layout = await self._layouts.read()
        if layout is not None and layout.split is not None:
            raise ConflictError("the shards are being split; drain the worker when that has ended")
        present, seen, _ = await self._look()
        beat = seen.heartbeats.get(worker)
        if beat is None and worker not in named_by(present):
            raise NotFoundError(f"there is no worker {worker!r}")
        if beat is not None and not beat.joins:
            raise ConflictError(
                f"{worker} serves the shards that were named when it started (--shards), which do "
                "not move; only a worker that joined can be drained"
            )
        await self._store.set_draining(worker, is_draining=True)

    async def cancel_drain(self, worker: str) -> None:
        """Let a worker keep its shards, and get others.

        Raises:
            NotFoundError: it is not draining.
        """
        if worker not in await self._store.draining():
            raise NotFoundError(f"the worker {worker!r} is not draining")
        await self._store.set_draining(worker, is_draining=False)

    async def rebalance(self) -> dict[str, Any]:
        """Do not wait for lost workers any longer, so that the placement is balanced without them.

        Returns:
            As `RebalanceAnswer`.
        """
        _, _, cluster = await self._look()
        lost = [member.id for member in cluster.members if member.lost_since_ms is not None]
        await self._store.note_departed(dict.fromkeys(lost, 0), [])
        await self._store.announce(DRAINING)  # so that the watching worker looks at once
        return {"replaced": lost}

    async def _look(self) -> tuple[Placement | None, Observation, Cluster]:
        present = await self._store.read()
        seen = await self._store.observe(self._registry, self._num_shards)
        cluster = cluster_of(
            seen, present, expiry_s=self._expiry_s, pinned_for_s=self._replace_after_s
        )
        return present, seen, cluster

    def _shards_json(
        self, present: Placement | None, seen: Observation, cluster: Cluster
    ) -> list[dict[str, Any]]:
        serving: list[list[str]] = [[] for _ in range(self._num_shards)]
        for worker, beat in sorted(seen.heartbeats.items()):
            if seen.is_live(worker, self._expiry_s):
                for shard in beat.shards:
                    serving[shard].append(worker)
        placed = [
            NOT_PLACED if present is None else present.of(shard)
            for shard in range(self._num_shards)
        ]
        return [
            {
                "shard": shard,
                "owners": list(placed[shard].owners),
                "joining": list(placed[shard].joining),
                "serving": serving[shard],
                "pinned": shard in cluster.pinned,
            }
            for shard in range(self._num_shards)
        ]


def _worker_json(member: Member, present: Placement | None, seen: Observation) -> dict[str, Any]:
    placed: Sequence[Any] = () if present is None else present.shards
    owns = sum(member.id in shard.owners for shard in placed)
    joining = sum(member.id in shard.joining for shard in placed)
    beat = seen.heartbeats.get(member.id)
    since_ms = member.lost_since_ms
    return {
        "id": member.id,
        "host": member.host,
        "zone": member.zone,
        "capacity": member.capacity,
        "live": since_ms is None,
        "lost_for_s": None if since_ms is None else (seen.now_ms - since_ms) / 1000,
        "draining": member.is_draining,
        "drained": member.is_draining and not (owns or joining or member.ready),
        "owns": owns,
        "joining": joining,
        "serves": len(member.ready),
        "version": 0 if beat is None else beat.placement,
    }


def _moves(present: Placement | None, decided: Plan, seen: Observation) -> list[dict[str, Any]]:
    moves: list[dict[str, Any]] = []
    for shard, wanted in enumerate(decided.target):
        placed = NOT_PLACED if present is None else present.of(shard)
        replaced = iter([owner for owner in placed.owners if owner not in wanted])
        moves += [
            {
                "shard": shard,
                "worker": worker,
                "replaces": next(replaced, None),
                "state": "joining" if worker in placed.joining else "waiting",
                **_progress(seen.heartbeats.get(worker), shard),
            }
            for worker in sorted(wanted.difference(placed.owners))
        ]
    return moves


def _progress(beat: Heartbeat | None, shard: int) -> dict[str, Any]:
    if beat is None:
        return {"behind": None, "error": None}
    behind = beat.log_backlog.get(shard, 0) if shard in beat.replicas else None
    return {"behind": behind, "error": beat.unready.get(shard)}
