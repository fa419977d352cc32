"""The policy: the present placement and the members → the next placement. Pure.

It works out which workers should hold each shard in the end (`target`), and makes one step towards
that:

- A worker that is to get a shard **joins** first, at most `Rules.max_moves` at once. If the shard
  has no owner, the worker is an owner at once, since there is nothing to wait for.
- A worker that is joining becomes an **owner** when it serves the shard.
- An owner is **dropped** only when a replacement serves the shard. So a shard that is served keeps
  being served.

When the next placement equals the present one, there is nothing to do until a member changes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hedgerow.common.placement.document import NOT_PLACED, Placement, ShardPlacement
from hedgerow.common.placement.members import Cluster, Member
from hedgerow.common.placement.target import Target, target_of
from hedgerow.common.settings.settings import Settings


@dataclass(frozen=True)
class Rules:
    """The settings that apply.

    Attributes:
        replicas: workers that each shard should have.
        replace_after_ms: a worker is replaced when it has been lost for this long, in ms.
        max_moves: most shards that are being joined at once, not counting empty ones.
        has_snapshots: whether a worker without a shard's data can restore it.
    """

    replicas: int = 1
    replace_after_ms: float = 60_000
    max_moves: int = 2
    has_snapshots: bool = True

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        """The rules by the settings."""
        placement = settings.placement
        return cls(
            placement.replicas,
            placement.replace_after_s * 1000,
            placement.max_moves,
            has_snapshots=bool(settings.snapshots.url),
        )


class Plan(NamedTuple):
    """What the policy has decided.

    Attributes:
        next: the next placement: the present one itself if nothing changes now; None if there is
            none, and none is needed.
        target: for each shard, the workers that should hold it in the end.
    """

    next: Placement | None
    target: Target


def plan(present: Placement | None, cluster: Cluster, rules: Rules, now_ms: int) -> Plan:
    """Decide the next placement.

    Args:
        present: the present placement; None if there is none.
        cluster: the members and shards, as of `now_ms`.
        rules: the settings.
        now_ms: an instant on the Redis server's clock.
    """
    if present is None and not cluster.members:
        return Plan(None, ())
    shards = [
        NOT_PLACED if present is None else present.of(shard) for shard in range(cluster.num_shards)
    ]
    target = target_of(
        cluster, shards, rules.replicas, replace_before_ms=now_ms - int(rules.replace_after_ms)
    )
    step = _Step(cluster, rules)
    settled = [step.settle(shard, placed, target[shard]) for shard, placed in enumerate(shards)]
    decided = tuple(step.start(settled, target))
    if present is None and not any(placed.owners for placed in decided):
        return Plan(None, target)
    if present is not None and decided == present.shards and rules.replicas == present.replicas:
        return Plan(present, target)
    version = 1 if present is None else present.version + 1
    changed = Placement(version, cluster.num_shards, rules.replicas, now_ms, decided)
    return Plan(changed, target)


class _Step:
    """One step from the present placement towards the target."""

    def __init__(self, cluster: Cluster, rules: Rules) -> None:
        self._cluster = cluster
        self._rules = rules
        self._members: Mapping[str, Member] = {member.id: member for member in cluster.members}

    def settle(self, shard: int, placed: ShardPlacement, wanted: frozenset[str]) -> ShardPlacement:
        """Make owners of those that are ready, and drop those that have been replaced."""
        if shard in self._cluster.pinned:
            return NOT_PLACED
        if not wanted:
            return placed  # there is no worker to replace them
        ready = [one for one in placed.holders if self._is_ready(one, shard)]
        possible = [one for one in placed.holders if one in placed.owners or one in ready]
        owners = [one for one in possible if one in wanted]
        unwanted = [one for one in possible if one not in wanted]
        num_serving = sum(one in ready for one in owners)
        # Those that serve stay for longest; of these, those that do not drain.
        unwanted.sort(key=lambda one: (one not in ready, self._is_draining(one)))
        owners += unwanted[: len(wanted) - num_serving]
        joining = [one for one in placed.joining if one in wanted and one not in owners]
        return _placement(placed, owners, joining)

    def start(self, settled: list[ShardPlacement], target: Target) -> list[ShardPlacement]:
        """Let workers join the shards that they should hold, the most urgent ones first."""
        decided = list(settled)
        room = self._rules.max_moves - sum(
            len(placed.joining)
            for shard, placed in enumerate(settled)
            if shard not in self._cluster.empty
        )
        waiting = [
            shard
            for shard, placed in enumerate(settled)
            if not target[shard] <= {*placed.owners, *placed.joining}
        ]
        for shard in sorted(waiting, key=lambda shard: self._urgency(shard, settled[shard])):
            placed = settled[shard]
            missing = sorted(target[shard].difference(placed.holders))
            if not placed.owners:
                decided[shard] = _placement(placed, [*placed.joining, *missing], [])
            elif shard in self._cluster.empty:
                decided[shard] = _placement(placed, placed.owners, [*placed.joining, *missing])
            else:
                able = [one for one in missing if self._can_join(one, shard)][: max(room, 0)]
                room -= len(able)
                decided[shard] = _placement(placed, placed.owners, [*placed.joining, *able])
        return decided

    def _urgency(self, shard: int, placed: ShardPlacement) -> tuple[int, bool, int]:
        """Shards that few workers serve come first, then those of which a worker is draining."""
        num_serving = sum(self._is_ready(one, shard) for one in placed.owners)
        drains = any(self._is_draining(one) for one in placed.owners)
        return min(num_serving, self._rules.replicas), not drains, shard

    def _is_ready(self, worker: str, shard: int) -> bool:
        member = self._members.get(worker)
        return member is not None and shard in member.ready

    def _is_draining(self, worker: str) -> bool:
        member = self._members.get(worker)
        return member is not None and member.is_draining

    def _can_join(self, worker: str, shard: int) -> bool:
        return self._rules.has_snapshots or shard in self._members[worker].stored


def _placement(
    before: ShardPlacement, owners: Iterable[str], joining: Iterable[str]
) -> ShardPlacement:
    """A placement of one shard, which equals the one before if it names the same workers."""
    after = ShardPlacement(tuple(owners), tuple(joining))
    if set(after.owners) == set(before.owners) and set(after.joining) == set(before.joining):
        return before
    return after
