"""Which workers should hold which shard in the end. Pure.

What is held already is kept where that is possible; what is missing goes to the workers that are
furthest below their shares; then shards move from workers with too many to workers with too few.
"""

from collections import defaultdict
from collections.abc import Sequence

from hedgerow.common.placement.assignment import HELD, Assignment, Shard, Worker
from hedgerow.common.placement.document import ShardPlacement
from hedgerow.common.placement.members import Cluster, Member
from hedgerow.common.placement.shares import Shares, shares_of

Target = tuple[frozenset[str], ...]


def target_of(
    cluster: Cluster, present: Sequence[ShardPlacement], replicas: int, *, replace_before_ms: int
) -> Target:
    """For each shard, the workers that should hold it.

    Args:
        cluster: the members and shards.
        present: the present placement of each shard.
        replicas: how many workers a shard should have; it gets fewer if there are fewer.
        replace_before_ms: workers that were lost before this instant are replaced. A worker that
            was lost later keeps its shards, and meanwhile no shard moves for the sake of balance.
    """
    active = [
        member
        for member in cluster.members
        if member.lost_since_ms is None and not member.is_draining
    ]
    awaited = {
        member.id: member
        for member in cluster.members
        if member.lost_since_ms is not None
        and member.lost_since_ms > replace_before_ms
        and not member.is_draining
    }
    fixed = [[awaited[one] for one in placed.owners if one in awaited] for placed in present]
    needs = [
        0 if shard in cluster.pinned else min(replicas - len(fixed[shard][:replicas]), len(active))
        for shard in range(cluster.num_shards)
    ]
    found: list[set[Worker]] = [set() for _ in needs]
    if any(needs):
        filling = _Filling(active, cluster, present, needs, fixed)
        filling.keep()
        filling.fill()
        if not awaited:
            filling.assignment.balance()
        found = filling.assignment.holders
    return tuple(
        frozenset(
            []
            if shard in cluster.pinned
            else [
                *(active[worker].id for worker in workers),
                *(member.id for member in fixed[shard][:replicas]),
            ]
        )
        for shard, workers in enumerate(found)
    )


class _Filling:
    """Makes the assignment of one target."""

    def __init__(
        self,
        active: Sequence[Member],
        cluster: Cluster,
        present: Sequence[ShardPlacement],
        needs: Sequence[int],
        fixed: Sequence[Sequence[Member]],
    ) -> None:
        self._active = active
        self._needs = needs
        self._present = present
        self._numbers = {member.id: number for number, member in enumerate(active)}
        self._shares = shares_of(active, max(needs), sum(map(bool, needs)), sum(needs))
        self.assignment = Assignment(
            self._shares,
            cluster.num_shards,
            [[(member.zone, (member.zone, member.host)) for member in of] for of in fixed],
            [member.stored for member in active],
            self._cost,
        )
        self._stored: dict[Shard, list[Worker]] = defaultdict(list)
        for number, member in enumerate(active):
            for shard in member.stored:
                self._stored[shard].append(number)

    def keep(self) -> None:
        """Keep what is held already, as far as the replicas are spread and not too many."""
        over = []
        for shard, placed in enumerate(self._present):
            workers = [self._numbers[one] for one in placed.holders if one in self._numbers]
            for worker in workers:
                self.assignment.add(shard, worker)
            if len(workers) > self._needs[shard] or self.assignment.crowded(shard):
                over.append(shard)
        for shard in over:  # only now are all loads known
            self._keep_some(shard)

    def _keep_some(self, shard: Shard) -> None:
        while True:
            leaving = self.assignment.crowded(shard)
            if not leaving and len(self.assignment.holders[shard]) > self._needs[shard]:
                leaving = list(self.assignment.holders[shard])
            if not leaving:
                return
            self.assignment.remove(shard, max(leaving, key=lambda one: self._surplus(shard, one)))

    def _surplus(self, shard: Shard, worker: Worker) -> tuple[float, int, int]:
        """Order in which the holders of a shard that has too many of them leave; last first.

        Where loads are equal, a worker that is still joining leaves before one that serves.
        """
        return self.assignment.excess(worker), -self._cost(shard, worker), worker

    def fill(self) -> None:
        """Give each shard the workers that it lacks."""
        choice = _Choice(self._shares, self.assignment)
        for shard, needed in enumerate(self._needs):
            while len(self.assignment.holders[shard]) < needed:
                worker = self._with_data(shard)
                worker = choice.of(shard) if worker is None else worker
                self.assignment.add(shard, worker)
                choice.note(worker)

    def _with_data(self, shard: Shard) -> Worker | None:
        """A worker that has the data of a shard on its disk, and room for it."""
        fitting = [
            worker
            for worker in self._stored[shard]
            if self.assignment.has_room(worker) and self.assignment.fits(shard, worker)
        ]
        return min(fitting, key=self.assignment.excess, default=None)

    def _cost(self, shard: Shard, worker: Worker) -> int:
        """What it costs that a shard leaves a worker: most if the worker serves it."""
        member, placed = self._active[worker], self._present[shard]
        if member.id in placed.holders:
            return HELD + (shard in member.ready)
        return int(shard in member.stored)


class _Choice:
    """Chooses workers for shards: of the zone that lacks most, the one that lacks most."""

    def __init__(self, shares: Shares, assignment: Assignment) -> None:
        self._shares = shares
        self._assignment = assignment
        self._workers = assignment.lightest_first()
        self._excess = dict.fromkeys(self._workers, 0.0)
        for worker, zone in enumerate(shares.zones):
            self._excess[zone] += assignment.excess(worker)

    def of(self, shard: Shard) -> Worker:
        """A worker for a shard, which does not hold it yet."""
        for zone in sorted(self._excess, key=self._excess.__getitem__):
            worker = self._workers[zone].find(lambda one: self._assignment.fits(shard, one))
            if worker is not None:
                return worker
        # None has room: rather an unbalanced load than replicas that are not spread, and rather
        # these than too few.
        others = [
            worker
            for worker in range(len(self._shares.of_worker))
            if worker not in self._assignment.holders[shard]
        ]
        spread = [worker for worker in others if self._assignment.fits(shard, worker)]
        return min(spread or others, key=self._assignment.excess)

    def note(self, worker: Worker) -> None:
        """A worker was given a shard."""
        self._excess[self._shares.zones[worker]] += 1
