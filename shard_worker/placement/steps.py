"""Decides what a worker does next to get from the shards that it holds to those it should hold.

Pure; `now` is in s of the loop's clock. Make before break: a shard is let go of only when another
worker serves it, whatever the placement says. Its data is removed only after that, and when as many
others serve it as the placement names: one of them may have been lost meanwhile.
"""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from hedgerow.common.placement.document import Placement
from hedgerow.common.wire.heartbeat import Heartbeat

FIRST_PAUSE_S: Final = 1.0
MOST_PAUSE_S: Final = 30.0
# Data that a worker has brought along, and that the placement does not assign to it, is kept for
# this time: a worker that was away is preferred for what it has, once the others have noticed it.
# No longer, since the log keeps entries for it; nor is what a worker has let go of.
KEEP_S: Final = 600.0


class Failure(NamedTuple):
    """The failed attempts to take up a shard, or to remove its data.

    Attributes:
        num_failed: how many, in a row.
        next_at: when the next attempt may be made.
        reason: why the last one failed.
    """

    num_failed: int
    next_at: float
    reason: str


def after_failure(before: Failure | None, reason: str, now: float) -> Failure:
    """Another failure; the pause before the next attempt doubles."""
    num_before = 0 if before is None else before.num_failed
    pause_s = min(FIRST_PAUSE_S * 2 ** min(num_before, 16), MOST_PAUSE_S)
    return Failure(num_before + 1, now + pause_s, reason)


class Situation(NamedTuple):
    """What a worker has, and what it is doing.

    Attributes:
        held: shards that it holds.
        stored: shards whose data is on its disk.
        dropped: shard → when the worker has let go of it, of those that it has since its start.
        taking_up: shards that it is taking up.
        letting_go: shards that it is letting go of, or whose data it is removing.
        failures: shard → its failures.
        started_at: when the worker started.
    """

    held: frozenset[int]
    stored: frozenset[int]
    dropped: Mapping[int, float]
    taking_up: frozenset[int]
    letting_go: frozenset[int]
    failures: Mapping[int, Failure]
    started_at: float


class Steps(NamedTuple):
    """What to begin now.

    Attributes:
        take_up: shards to take up, in order.
        let_go: shards to let go of.
        remove: shards whose data is to be removed.
    """

    take_up: list[int]
    let_go: list[int]
    remove: list[int]


def next_steps(
    wanted: frozenset[int],
    replaced: frozenset[int],
    safe: frozenset[int],
    situation: Situation,
    most_at_once: int,
    now: float,
    turns: Mapping[int, int] = MappingProxyType({}),
) -> Steps:
    """What a worker should begin to do.

    Args:
        wanted: the shards that the placement assigns to it.
        replaced: the shards that another worker serves (`served_elsewhere`).
        safe: of these, those that as many others serve as the placement names.
        situation: what it has and does.
        most_at_once: most shards that it takes up at the same time.
        now: the time.
        turns: shard → its `turn_of`; those of a low one are taken up first.
    """
    one = situation
    changing = one.taking_up | one.letting_go
    waiting = {shard for shard, failure in one.failures.items() if failure.next_at > now}
    lacking = wanted - one.held - changing - waiting
    # What is on the disk takes least, and may be what others wait for.
    in_order = sorted(
        lacking, key=lambda shard: (shard not in one.stored, turns.get(shard, 0), shard)
    )
    unneeded = {
        shard
        for shard in one.stored - one.held - wanted - changing - waiting
        if now - one.dropped.get(shard, one.started_at) >= KEEP_S
        or (shard in one.dropped and shard in safe)
    }
    return Steps(
        in_order[: max(0, most_at_once - len(one.taking_up))],
        sorted((one.held - wanted - changing) & replaced),
        sorted(unneeded & replaced),
    )


def turn_of(placement: Placement, worker: str, shard: int) -> int:
    """How many other workers should begin to take up a shard before one that holds it does.

    Workers with the same shards begin with different ones, so that each shard soon has one replica.
    """
    holders = placement.of(shard).holders
    return (holders.index(worker) + shard) % len(holders)


def served_elsewhere(
    placement: Placement, worker: str, live: Mapping[str, Heartbeat]
) -> Counter[int]:
    """Shard → how many other workers serve it, as owners or because it is pinned to them.

    Args:
        placement: names the owners.
        worker: the worker's own id.
        live: worker id → heartbeat, of the live workers.
    """
    return Counter(
        shard
        for other, heartbeat in live.items()
        if other != worker
        for shard in heartbeat.shards
        if not heartbeat.joins or other in placement.of(shard).owners
    )
