"""An assignment of shards to workers while it is worked out. Workers and shards are numbers."""

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from hedgerow.common.placement.shares import Host, Shares

_ROUNDING = 1e-9
_MOST_LOOKED_AT = 200  # workers on the way from one that has too much to one that has too little

Worker = int
Shard = int


class Assignment:
    """Which workers hold which shard, and how far that is from their shares.

    A worker's load is balanced if it is its share, rounded down or up.

    Attributes:
        holders: for each shard, the workers that hold it.
        held: for each worker, the shards that it holds.
    """

    def __init__(
        self,
        shares: Shares,
        num_shards: int,
        fixed: Sequence[Sequence[tuple[str, Host]]],
        cost: Callable[[Shard, Worker], int],
    ) -> None:
        """Begin with an assignment of nothing.

        Args:
            shares: the workers' shares, and how replicas are to be spread.
            num_shards: shards of the cluster.
            fixed: for each shard, zone and host of replicas that are not part of the assignment.
            cost: what it costs that a shard leaves a worker; the least is moved first.
        """
        self.holders: list[set[Worker]] = [set() for _ in range(num_shards)]
        self.held: list[set[Shard]] = [set() for _ in shares.of_worker]
        self._shares = shares
        self._fixed = fixed
        self._cost = cost
        self._low = [math.floor(share + _ROUNDING) for share in shares.of_worker]
        self._high = [math.ceil(share - _ROUNDING) for share in shares.of_worker]

    def add(self, shard: Shard, worker: Worker) -> None:
        """Let a worker hold a shard."""
        self.holders[shard].add(worker)
        self.held[worker].add(shard)

    def remove(self, shard: Shard, worker: Worker) -> None:
        """Let a worker no longer hold a shard."""
        self.holders[shard].remove(worker)
        self.held[worker].remove(shard)

    def excess(self, worker: Worker) -> float:
        """By how much a worker's load exceeds its share; negative if it falls short of it."""
        return len(self.held[worker]) - self._shares.of_worker[worker]

    def has_room(self, worker: Worker) -> bool:
        """Whether a worker with one more shard is still balanced, or falls short of its share."""
        return len(self.held[worker]) < self._high[worker]

    def crowded(self, shard: Shard) -> list[Worker]:
        """Holders of a shard in a zone, or on a host, that has too many of its replicas."""
        return [worker for worker in self.holders[shard] if not self._is_spread(shard, worker)]

    def fits(self, shard: Shard, worker: Worker, instead_of: Worker | None = None) -> bool:
        """Whether a worker may hold a shard as well as, or instead of, those that hold it."""
        return worker not in self.holders[shard] and self._is_spread(shard, worker, instead_of)

    def _is_spread(self, shard: Shard, worker: Worker, instead_of: Worker | None = None) -> bool:
        """Whether zone and host of a worker have no more than their part of a shard's replicas."""
        shares = self._shares
        zone, host = shares.zones[worker], shares.hosts[worker]
        in_zone = on_host = 1
        for other in self.holders[shard]:
            if other not in (worker, instead_of):
                in_zone += shares.zones[other] == zone
                on_host += shares.hosts[other] == host
        for fixed_zone, fixed_host in self._fixed[shard]:
            in_zone += fixed_zone == zone
            on_host += fixed_host == host
        return in_zone <= shares.most_in_zone[zone] and on_host <= shares.most_on_host[host]

    # Balancing

    def balance(self) -> None:
        """Move as few replicas as possible until every load is balanced."""
        receivers = LightestFirst(range(len(self.held)), self)
        for worker in sorted(range(len(self.held)), key=lambda one: -self.excess(one)):
            while len(self.held[worker]) > self._high[worker] and self._give(worker, receivers):
                pass
        for worker in sorted(range(len(self.held)), key=self.excess):
            while len(self.held[worker]) < self._low[worker] and self._take(worker):
                pass

    def _give(self, worker: Worker, receivers: "LightestFirst") -> bool:
        """Let a worker give a shard to one that has room, directly or through others."""
        order = self._cheapest_first(worker)
        receiver = receivers.find(lambda other: self._movable(order, worker, other) is not None)
        shard = None if receiver is None else self._movable(order, worker, receiver)
        if receiver is None or shard is None:
            return self._shift(worker, self.has_room, is_backward=False)
        self._move(shard, worker, receiver)
        return True

    def _take(self, worker: Worker) -> bool:
        """Let a worker take a shard from one that remains balanced, or has too much."""
        for giver in sorted(range(len(self.held)), key=lambda one: -self.excess(one)):
            if self._can_give(giver):
                shard = self._movable(self._cheapest_first(giver), giver, worker)
                if shard is not None:
                    self._move(shard, giver, worker)
                    return True
        return self._shift(worker, self._can_give, is_backward=True)

    def _can_give(self, worker: Worker) -> bool:
        return len(self.held[worker]) > self._low[worker]

    def _shift(self, start: Worker, is_end: Callable[[Worker], bool], *, is_backward: bool) -> bool:
        """Move one shard along each step of a way from a worker to another, the shortest one."""
        came_by: dict[Worker, tuple[Worker, Shard]] = {}
        reached = deque([start])
        num_looked_at = 0
        while reached and num_looked_at < _MOST_LOOKED_AT:
            here = reached.popleft()
            num_looked_at += 1
            for there in range(len(self.held)):
                if there == start or there in came_by:
                    continue
                giver, receiver = (there, here) if is_backward else (here, there)
                shard = self._movable(self._cheapest_first(giver), giver, receiver)
                if shard is None:
                    continue
                came_by[there] = here, shard
                if is_end(there):
                    self._move_along(came_by, there, start, is_backward=is_backward)
                    return True
                reached.append(there)
        return False

    def _move_along(
        self,
        came_by: dict[Worker, tuple[Worker, Shard]],
        end: Worker,
        start: Worker,
        *,
        is_backward: bool,
    ) -> None:
        there = end
        while there != start:
            here, shard = came_by[there]
            giver, receiver = (there, here) if is_backward else (here, there)
            self._move(shard, giver, receiver)
            there = here

    def _cheapest_first(self, worker: Worker) -> list[Shard]:
        return sorted(self.held[worker], key=lambda shard: (self._cost(shard, worker), shard))

    def _movable(self, order: Sequence[Shard], giver: Worker, receiver: Worker) -> Shard | None:
        return next((shard for shard in order if self.fits(shard, receiver, giver)), None)

    def _move(self, shard: Shard, giver: Worker, receiver: Worker) -> None:
        self.remove(shard, giver)
        self.add(shard, receiver)


class LightestFirst:
    """Finds workers, the one that is furthest below its share first."""

    def __init__(self, workers: Iterable[Worker], assignment: Assignment) -> None:
        self._assignment = assignment
        self._heap = [(assignment.excess(worker), worker) for worker in workers]
        heapq.heapify(self._heap)

    def find(self, accept: Callable[[Worker], bool]) -> Worker | None:
        """The first worker with room that `accept` accepts; None if there is none."""
        passed = []
        found = None
        while self._heap and found is None:
            entry = heapq.heappop(self._heap)
            excess, worker = self._assignment.excess(entry[1]), entry[1]
            if excess > entry[0]:  # it was given shards meanwhile
                heapq.heappush(self._heap, (excess, worker))
                continue
            passed.append(entry)
            if not self._assignment.has_room(worker):
                break  # nor, as a rule, have those that follow
            if accept(worker):
                found = worker
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return found
