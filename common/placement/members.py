"""What the policy knows about the workers of a cluster, as of one moment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hedgerow.common.placement.document import Placement
from hedgerow.common.wire.heartbeat import Heartbeat


@dataclass(frozen=True)
class Member:
    """A worker that joined.

    Attributes:
        id: its name.
        host: the machine that it runs on; "" if that is not known.
        zone: where it is; "" if that is not known.
        capacity: how many shards it should get in relation to others.
        lost_since_ms: since when it has sent no heartbeat; None if it is live.
        is_draining: whether it is to lose its shards.
        stored: the shards whose data is on its disk.
        ready: the shards that it serves.
    """

    id: str
    host: str = ""
    zone: str = ""
    capacity: float = 1.0
    lost_since_ms: int | None = None
    is_draining: bool = False
    stored: frozenset[int] = frozenset()
    ready: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Cluster:
    """The members, and what else decides about the placement.

    Attributes:
        num_shards: shards of the cluster.
        members: the workers that joined: the live ones, and lost ones that the placement names.
        pinned: shards that pinned workers serve, which need no owner.
        empty: shards that hold no document, which cost nothing to move.
    """

    num_shards: int
    members: tuple[Member, ...]
    pinned: frozenset[int] = frozenset()
    empty: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Observation:
    """What was read from Redis at one moment.

    Attributes:
        num_shards: shards of the cluster.
        heartbeats: worker → its last heartbeat, including workers that are no longer live.
        draining: the workers that are draining.
        departed: worker → since when it has been known to be gone, in ms.
        now_ms: when it was read, an instant on the Redis server's clock.
    """

    num_shards: int
    heartbeats: Mapping[str, Heartbeat]
    draining: frozenset[str]
    departed: Mapping[str, int]
    now_ms: int

    def departures(self, named: Iterable[str]) -> tuple[dict[str, int], list[str]]:
        """What to record of workers that signed off, and have no heartbeat that dates it.

        Args:
            named: the workers that the placement names.

        Returns:
            Worker → since when it is gone, as far as that is not recorded; and the workers whose
            record is no longer needed.
        """
        gone = set(named) - self.heartbeats.keys()
        # A record of the future is of before the server's clock was set back.
        known = {worker for worker, at_ms in self.departed.items() if at_ms <= self.now_ms}
        new = dict.fromkeys(gone - known, self.now_ms)
        return new, [
            worker for worker in self.departed if worker not in named or self._is_back(worker)
        ]

    def _is_back(self, worker: str) -> bool:
        beat = self.heartbeats.get(worker)
        return beat is not None and beat.beat_at_ms > self.departed[worker]

    def is_live(self, worker: str, expiry_s: float) -> bool:
        """Whether a worker has sent a heartbeat within `expiry_s`."""
        beat = self.heartbeats.get(worker)
        return beat is not None and beat.beat_at_ms > self.now_ms - expiry_s * 1000


def named_by(placement: Placement | None) -> set[str]:
    """The workers that a placement names."""
    if placement is None:
        return set()
    return {worker for shard in placement.shards for worker in shard.holders}


def cluster_of(
    seen: Observation, present: Placement | None, *, expiry_s: float, pinned_for_s: float
) -> Cluster:
    """What the policy has to know of what was read.

    Args:
        seen: what was read.
        present: the present placement.
        expiry_s: a worker without a heartbeat for this long is lost, in s.
        pinned_for_s: a pinned worker's shards need no owners until it has been lost for this long,
            in s.
    """
    named = named_by(present)
    members = []
    pinned: set[int] = set()
    for worker, beat in seen.heartbeats.items():
        is_live = seen.is_live(worker, expiry_s)
        if beat.joins and (is_live or worker in named):
            members.append(_member(seen, beat, is_live=is_live))
        elif not beat.joins and is_live:
            pinned.update(beat.shards)
        elif not beat.joins and seen.is_live(worker, pinned_for_s):
            pinned.update(
                shard for shard in beat.shards if present is None or not present.of(shard).owners
            )
    members += [
        Member(
            worker,
            lost_since_ms=seen.departed.get(worker, seen.now_ms),
            is_draining=worker in seen.draining,
        )
        for worker in named - seen.heartbeats.keys()
    ]
    return Cluster(
        seen.num_shards,
        tuple(sorted(members, key=lambda member: member.id)),
        frozenset(pinned),
        _empty(seen.heartbeats.values(), seen.num_shards),
    )


def _member(seen: Observation, beat: Heartbeat, *, is_live: bool) -> Member:
    lost_since_ms = min(beat.beat_at_ms, seen.departed.get(beat.id, beat.beat_at_ms))
    return Member(
        beat.id,
        beat.host,
        beat.zone,
        beat.capacity,
        None if is_live else lost_since_ms,
        beat.id in seen.draining,
        frozenset(beat.stored),
        frozenset(beat.shards) if is_live else frozenset(),
    )


def _empty(heartbeats: Iterable[Heartbeat], num_shards: int) -> frozenset[int]:
    """The shards that some worker reports, and of which none reports a document."""
    reported: set[int] = set()
    filled: set[int] = set()
    for beat in heartbeats:
        for shard, counts in beat.documents.items():
            reported.add(shard)
            if any(counts.values()):
                filled.add(shard)
    return frozenset(reported - filled) & frozenset(range(num_shards))
