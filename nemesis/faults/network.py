"""Partitions, and traffic that is late, lost or out of order."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from nemesis.abilities import PACKETS
from nemesis.cluster.cluster import Cluster
from nemesis.cluster.links import Disturbance, Pair, both_ways
from nemesis.faults.injection import Inject
from nemesis.layout import COPIES, GATEWAYS, REDIS, WORKERS
from nemesis.schedule import Card, Fault

_NEEDS_PACKETS: Final = frozenset({PACKETS})
# A half is a gateway with two workers: a whole copy of the documents, or both replicas of half.
_HALVES: Final = {
    "a whole copy": (GATEWAYS[0], *COPIES[0]),
    "another whole copy": (GATEWAYS[1], *COPIES[1]),
    "both replicas of a half": (GATEWAYS[0], WORKERS[0], WORKERS[2]),
    "both replicas of the other half": (GATEWAYS[1], WORKERS[1], WORKERS[3]),
}


def _cut(directions: Callable[[str], list[Pair]]) -> Inject:
    @asynccontextmanager
    async def inject(cluster: Cluster, fault: Fault) -> AsyncIterator[str]:
        pairs = directions(fault.target)
        async with cluster.links.cut(pairs):
            yield "nothing gets through: " + ", ".join(f"{a} → {b}" for a, b in pairs)

    return inject


def _halves(target: str) -> list[Pair]:
    return [pair for name in _HALVES[target] for pair in both_ways(name, REDIS)]


def _disturb(how: Callable[[float], Disturbance]) -> Inject:
    @asynccontextmanager
    async def inject(cluster: Cluster, fault: Fault) -> AsyncIterator[str]:
        disturbance = how(fault.strength)
        async with cluster.links.disturb(both_ways(fault.target, REDIS), disturbance):
            yield f"between {fault.target} and redis: {disturbance}"

    return inject


def _delay(strength: float) -> Disturbance:
    return Disturbance(delay_ms=round(5 + 195 * strength))


def _loss(strength: float) -> Disturbance:
    return Disturbance(loss=0.02 + 0.28 * strength)


def _reordering(strength: float) -> Disturbance:
    return Disturbance(delay_ms=20.0, jitter_ms=round(20 * strength, 1), reorder=0.25)


_ASKING: Final = (*GATEWAYS, *WORKERS)
FAULTS: Final[dict[Card, Inject]] = {
    Card("cut off a gateway", "a gateway and Redis do not reach each other", GATEWAYS): _cut(
        lambda name: both_ways(name, REDIS)
    ),
    Card("cut off a worker", "a worker and Redis do not reach each other", WORKERS): _cut(
        lambda name: both_ways(name, REDIS)
    ),
    Card("deaf", "nothing from Redis reaches a gateway or worker", _ASKING): _cut(
        lambda name: [(REDIS, name)]
    ),
    Card("mute", "nothing from a gateway or worker reaches Redis", _ASKING): _cut(
        lambda name: [(name, REDIS)]
    ),
    Card("halves", "a gateway and two workers do not reach Redis", tuple(_HALVES)): _cut(_halves),
    Card("delay", "traffic of a gateway or worker with Redis is late", _ASKING): _disturb(_delay),
    Card("loss", "packets between Redis and another are lost", _ASKING, _NEEDS_PACKETS): _disturb(
        _loss
    ),
    Card(
        "reordering", "packets between Redis and another overtake", _ASKING, _NEEDS_PACKETS
    ): _disturb(_reordering),
}
