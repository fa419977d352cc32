"""An assignment of shards to workers while it is worked out. Workers and shards are numbers."""

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from hedgerow.common.placement.shares import Host, Shares

_ROUNDING = 1e-9
_MOST_PASSED = 32  # workers that do not fit, before others are looked at
_MOST_LOOKS = 20_000  # for ways through others, in all: about 0.1 s
_MOST_NEW_LOOKS = 5_000  # for ways that move nothing, in place of a move
HELD = 2  # what it costs, at least, that a shard leaves a worker that holds it in fact

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
        stored: Sequence[frozenset[Shard]],
        cost: Callable[[Shard, Worker], int],
    ) -> None:
        """Begin with an assignment of nothing.

        Args:
            shares: the workers' shares, and how replicas are to be spread.
            num_shards: shards of the cluster.
            fixed: for each shard, zone and host of replicas that are not part of the assignment.
            stored: for each worker, the shards whose data is on its disk.
            cost: what it costs that a shard leaves a worker; the least is moved first.
        """
        self.holders: list[set[Worker]] = [set() for _ in range(num_shards)]
        self.held: list[set[Shard]] = [set() for _ in shares.of_worker]
        self._shares = shares
        self._fixed = fixed
        self._stored = stored
        self._cost = cost
        self._low = [math.floor(share + _ROUNDING) for share in shares.of_worker]
        self._looks_left = _MOST_LOOKS
        self._new_looks_left = _MOST_NEW_LOOKS
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
        receivers = self.lightest_first()
        for worker in sorted(range(len(self.held)), key=lambda one: -self.excess(one)):
            while len(self.held[worker]) > self._high[worker] and self._give(worker, receivers):
                pass
        givers = self._in_zones(lambda worker: -self.excess(worker), self._can_give)
        for worker in sorted(range(len(self.held)), key=self.excess):
            while len(self.held[worker]) < self._low[worker] and self._take(worker, givers):
                pass

    def lightest_first(self) -> "dict[str, InOrder]":
        """For each zone, its workers in the order in which they should be given shards."""
        return self._in_zones(self.excess, self.has_room)

    def _in_zones(
        self, key: Callable[[Worker], float], is_usable: Callable[[Worker], bool]
    ) -> "dict[str, InOrder]":
        zones: dict[str, list[Worker]] = defaultdict(list)
        for worker, zone in enumerate(self._shares.zones):
            zones[zone].append(worker)
        return {zone: InOrder(workers, key, is_usable) for zone, workers in zones.items()}

    def _give(self, worker: Worker, receivers: "Mapping[str, InOrder]") -> bool:
        """Let a worker give a shard to one that has room, directly or through others."""
        order = self._cheapest_first(worker)
        for zone in sorted(receivers, key=lambda zone: receivers[zone].least()):
            if not any(self._zone_has_room(shard, zone, worker) for shard in order):
                continue  # without looking at each of its workers
            receiver = receivers[zone].find(
                lambda other: self._movable(order, worker, other) is not None
            )
            shard = None if receiver is None else self._movable(order, worker, receiver)
            if receiver is not None and shard is not None:
                if self._cost(shard, worker) < HELD or not self._shift_new(
                    worker, self.has_room, is_backward=False
                ):
                    self._move(shard, worker, receiver)
                return True
        return self._shift(worker, self.has_room, self._cheapest_first, is_backward=False)

    def _zone_has_room(self, shard: Shard, zone: str, instead_of: Worker) -> bool:
        """Whether a zone may have one more replica of a shard, instead of a worker's."""
        zones = self._shares.zones
        in_zone = sum(zones[other] == zone for other in self.holders[shard] if other != instead_of)
        in_zone += sum(fixed_zone == zone for fixed_zone, _ in self._fixed[shard])
        return in_zone < self._shares.most_in_zone[zone]

    def _take(self, worker: Worker, givers: "Mapping[str, InOrder]") -> bool:
        """Let a worker take a shard from one that remains balanced, or has too much."""
        own = self._shares.zones[worker]
        for zone in sorted(givers, key=lambda zone: zone != own):  # in one's own, most shards fit
            giver = givers[zone].find(
                lambda other: self._movable(self._cheapest_first(other), other, worker) is not None
            )
            if giver is not None:
                shard = self._movable(self._cheapest_first(giver), giver, worker)
                if shard is not None:
                    if self._cost(shard, giver) < HELD or not self._shift_new(
                        worker, self._can_give, is_backward=True
                    ):
                        self._move(shard, giver, worker)
                    return True
        return self._shift(worker, self._can_give, self._cheapest_first, is_backward=True)

    def _can_give(self, worker: Worker) -> bool:
        return len(self.held[worker]) > self._low[worker]

    def _shift_new(
        self, start: Worker, is_end: Callable[[Worker], bool], *, is_backward: bool
    ) -> bool:
        """Shift only what its giver does not hold yet in fact, which moves nothing."""
        looks_left = self._looks_left
        self._looks_left = min(looks_left, self._new_looks_left)
        self._new_looks_left -= self._looks_left
        is_done = self._shift(start, is_end, self._new, is_backward=is_backward)
        self._new_looks_left += max(self._looks_left, 0)
        self._looks_left = looks_left
        return is_done

    def _shift(
        self,
        start: Worker,
        is_end: Callable[[Worker], bool],
        order: Callable[[Worker], list[Shard]],
        *,
        is_backward: bool,
    ) -> bool:
        """Move one shard along each step of a way from a worker to another, the shortest one.

        Args:
            start: where the way begins.
            is_end: whether it may end at a worker.
            order: the shards that a worker may give, the first that fits is taken.
            is_backward: whether shards move towards `start`.
        """
        came_by: dict[Worker, tuple[Worker, Shard]] = {}
        reached = deque([start])
        while reached and self._looks_left > 0:
            here = reached.popleft()
            for there in range(len(self.held)):
                if there == start or there in came_by:
                    continue
                giver, receiver = (there, here) if is_backward else (here, there)
                self._looks_left -= 1
                shard = self._movable(order(giver), giver, receiver)
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

    def _new(self, worker: Worker) -> list[Shard]:
        """The shards of a worker that it does not hold in fact, the cheapest first."""
        return [shard for shard in self._cheapest_first(worker) if self._cost(shard, worker) < HELD]

    def _movable(self, order: Sequence[Shard], giver: Worker, receiver: Worker) -> Shard | None:
        """The cheapest shard that can move; of equally cheap ones, one whose data is there."""
        first = next((shard for shard in order if self.fits(shard, receiver, giver)), None)
        stored = self._stored[receiver]
        if first is None or not stored:
            return first
        cost = self._cost(first, giver)
        with_data = (
            shard
            for shard in order
            if shard in stored
            and self._cost(shard, giver) == cost
            and self.fits(shard, receiver, giver)
        )
        return next(with_data, first)

    def _move(self, shard: Shard, giver: Worker, receiver: Worker) -> None:
        self.remove(shard, giver)
        self.add(shard, receiver)


class InOrder:
    """Finds workers, those with the least `key` first, which only ever grows."""

    def __init__(
        self,
        workers: Iterable[Worker],
        key: Callable[[Worker], float],
        is_usable: Callable[[Worker], bool],
    ) -> None:
        self._key = key
        self._is_usable = is_usable
        self._heap = [(key(worker), worker) for worker in workers]
        heapq.heapify(self._heap)

    def least(self) -> float:
        """The key of the first worker."""
        while (key := self._key(self._heap[0][1])) > self._heap[0][0]:
            heapq.heapreplace(self._heap, (key, self._heap[0][1]))
        return self._heap[0][0]

    def find(self, accept: Callable[[Worker], bool]) -> Worker | None:
        """The first usable worker that `accept` accepts; None if there is none, or not soon."""
        passed: list[tuple[float, Worker]] = []
        found: Worker | None = None
        while self._heap and found is None and len(passed) < _MOST_PASSED:
            self.least()
            entry = heapq.heappop(self._heap)
            passed.append(entry)
            if not self._is_usable(entry[1]):
                break  # nor, as a rule, are those that follow
            if accept(entry[1]):
                found = entry[1]
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return found
