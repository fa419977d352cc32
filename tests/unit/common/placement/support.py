"""Small clusters, and what makes a placement of them good."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.common.placement.members import Cluster, Member
from hedgerow.common.placement.policy import Rules, plan
from hedgerow.common.placement.shares import shares_of

Workers = Iterable[str]


def named(*workers: str) -> tuple[Member, ...]:
    """Members of equal weight, each on a host of its own."""
    return tuple(Member(worker, host=worker) for worker in workers)


@st.composite
def members(
    draw: st.DrawFn,
    zones: Sequence[str] = ("",),
    capacities: Sequence[float] = (1.0,),
    max_size: int = 4,
) -> tuple[Member, ...]:
    """Between one and some members, each on a host of its own."""
    number = draw(st.integers(1, max_size))
    return tuple(
        Member(
            f"w{one}",
            host=f"h{one}",
            zone=draw(st.sampled_from(zones)),
            capacity=draw(st.sampled_from(capacities)),
        )
        for one in range(number)
    )


@st.composite
def present_of(
    draw: st.DrawFn, members: Sequence[Member], num_shards: int, replicas: int
) -> list[ShardPlacement]:
    """Some placement, which may name a worker that is gone."""
    workers = [*(member.id for member in members), "gone"]
    owners = st.lists(st.sampled_from(workers), max_size=min(replicas, len(members)), unique=True)
    return [ShardPlacement(tuple(draw(owners))) for _ in range(num_shards)]


def num_moves(target: Sequence[Workers], present: Sequence[ShardPlacement]) -> int:
    """How many replicas have to be made."""
    return sum(
        len(set(wanted) - set(placed.holders))
        for wanted, placed in zip(target, present, strict=True)
    )


def num_close(target: Sequence[Workers], members: Sequence[Member]) -> int:
    """How many pairs of replicas of a shard are in one zone."""
    zone = {member.id: member.zone for member in members}
    return sum(
        zone[one] == zone[other]
        for wanted in target
        for one, other in itertools.combinations(wanted, 2)
    )


def imbalance(target: Sequence[Workers], members: Sequence[Member], replicas: int) -> int:
    """By how many replicas the loads differ from the shares, rounded down or up."""
    shares = shares_of(members, replicas, len(target), len(target) * replicas).of_worker
    loads = [sum(member.id in wanted for wanted in target) for member in members]
    return sum(
        max(0, load - math.ceil(share - 1e-9), math.floor(share + 1e-9) - load)
        for load, share in zip(loads, shares, strict=True)
    )


class Model:
    """A cluster whose workers carry out each placement at once, or after a while.

    Attributes:
        cluster: its members, kept up to date with what they hold.
        placement: the present one.
        rules: the settings.
    """

    def __init__(
        self, members: Sequence[Member], num_shards: int, rules: Rules, empty: bool = False
    ) -> None:
        self.cluster = Cluster(num_shards, tuple(members))
        self.placement: Placement | None = None
        self.rules = rules
        self.now_ms = 1_000_000
        self._is_empty = empty

    def change(self, worker: str, **what: object) -> None:
        """Change a member, such as `is_draining`."""
        self.cluster = replace(
            self.cluster,
            members=tuple(
                replace(member, **what) if member.id == worker else member  # type: ignore[arg-type]
                for member in self.cluster.members
            ),
        )

    def lose(self, worker: str) -> None:
        """A worker dies."""
        self.change(worker, lost_since_ms=self.now_ms, ready=frozenset())

    def join(self, *members: Member) -> None:
        """Further workers come."""
        self.cluster = replace(self.cluster, members=(*self.cluster.members, *members))

    def decide(self) -> bool:
        """Take one decision; return whether it changed the placement."""
        before = self.placement
        self.placement = plan(before, self.cluster, self.rules, self.now_ms).next
        return self.placement is not before

    def carry_out(self, slow: frozenset[int] = frozenset()) -> None:
        """All live workers hold what names them, except that `slow` shards take longer."""
        assert self.placement is not None
        for member in self.cluster.members:
            if member.lost_since_ms is None:
                held = self.placement.held_by(member.id)
                ready = held - (slow - member.ready)
                self.change(member.id, ready=ready, stored=held)
        if self._is_empty:
            self.cluster = replace(self.cluster, empty=frozenset(range(self.cluster.num_shards)))

    def settle(self) -> int:
        """Decide and carry out until nothing changes; return the number of decisions."""
        for step in range(200):
            if not self.decide():
                return step
            self.carry_out()
        raise AssertionError("it does not settle")

    def serving(self, shard: int) -> set[str]:
        """The workers that serve a shard now."""
        return {member.id for member in self.cluster.members if shard in member.ready}

    def owned(self) -> dict[str, int]:
        """Worker → shards of which it is an owner."""
        assert self.placement is not None
        return {
            member.id: sum(member.id in placed.owners for placed in self.placement.shards)
            for member in self.cluster.members
        }
