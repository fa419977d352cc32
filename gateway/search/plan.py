"""Decides which shards a query asks, and ends the parts of the others at once."""

import math
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import msgspec

from hedgerow.common.outcome import Outcome
from hedgerow.common.wire.search_options import Candidate
from hedgerow.gateway.policies.breaker import Breaker, Permit, State
from hedgerow.gateway.search.guards.breakers import Breakers

_SKIP = Outcome.SKIPPED
NO_WORKER: Final = "no live worker"


class Skipped(NamedTuple):
    """Shards that are not asked, since there is nothing for them to find.

    Attributes:
        shards: the shards.
        reason: why.
    """

    shards: AbstractSet[int] = frozenset()
    reason: str = "its summary excludes every match"


NONE_SKIPPED: Final = Skipped()


class Plan(msgspec.Struct, frozen=True, gc=False):
    """The shards to ask, and the outcomes of the others.

    Attributes:
        shards: the shards to ask, ascending.
        permits: permits of their breakers, in the same order; `Breakers.finish` returns them.
        not_asked: shard → outcome and reason, for the shards that are not asked.
        breakers: the breakers that gave the permits.
    """

    shards: tuple[int, ...]
    permits: Iterable[Permit]
    not_asked: dict[int, tuple[Outcome, str]]
    breakers: Breakers

    @property
    def skipped(self) -> Sequence[int]:
        """The shards that have no match."""
        if not self.not_asked:
            return ()
        return [shard for shard, (outcome, _) in self.not_asked.items() if outcome is _SKIP]


def make_plan(
    live: Sequence[bool],
    breakers: Breakers,
    now: float,
    skipped: Skipped = NONE_SKIPPED,
    no_worker: str = NO_WORKER,
) -> Plan:
    """Ask each shard that has a live worker and whose breaker lets the call through.

    Args:
        live: for each shard, whether a worker serves it.
        breakers: one per shard.
        now: the event loop's time, in s.
        skipped: shards that have no match.
        no_worker: why those without a live worker are not asked.
    """
    if not skipped.shards and False not in live and (passing := breakers.passing()) is not None:
        return Plan(breakers.shards, passing, {}, breakers)
    permits: list[Permit] = []
    not_asked: dict[int, tuple[Outcome, str]] = {}
    for shard, breaker in enumerate(breakers):
        # A shard that is not asked comes first: its breaker must not waste a probe.
        if shard in skipped.shards:
            not_asked[shard] = (_SKIP, skipped.reason)
        elif not live[shard]:
            not_asked[shard] = (Outcome.UNAVAILABLE, no_worker)
        elif (permit := breaker.allow(now)) is None:
            not_asked[shard] = (Outcome.BREAKER_OPEN, refusal(breaker, now))
        else:
            permits.append(permit)
    shards = tuple(shard for shard in breakers.shards if shard not in not_asked)
    return Plan(shards, permits, not_asked, breakers)


def without_candidate(candidates: Iterable[Candidate], num_shards: int) -> Skipped:
    """The shards that have none of the hits which a second phase is to score."""
    others = frozenset(range(num_shards)).difference(one.shard for one in candidates)
    return Skipped(others, "it has no candidate of the second phase")


def refusal(breaker: Breaker, now: float) -> str:
    """Return in words why the breaker has just refused a call."""
    wait_s = breaker.retry_at(now) - now
    if math.isinf(wait_s):
        return "breaker forced open"
    if breaker.state(now) is State.OPEN:
        return f"breaker open, next probe in {wait_s:.1f} s"
    return "breaker half-open, a probe is under way"
