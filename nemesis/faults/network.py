"""Partitions, and traffic that is late, lost or out of order."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from nemesis.abilities import PACKETS
from nemesis.cluster.cluster import Cluster
from nemesis.cluster.links import Disturbance, Pair, both_ways
from nemesis.faults.injection import Inject
from nemesis.layout import GATEWAYS, REDIS, WORKERS
from nemesis.schedule import Card, Fault

_NEEDS_PACKETS: Final = frozenset({PACKETS})
# A gateway with two of the four workers; which replicas these have is up to the placement.
_HALVES: Final = {
    f"{gateway} with {first} and {second}": (gateway, first, second)
    for gateway, first, second in (
        (GATEWAYS[0], WORKERS[0], WORKERS[1]),
        (GATEWAYS[1], WORKERS[2], WORKERS[3]),
        (GATEWAYS[0], WORKERS[0], WORKERS[2]),
        (GATEWAYS[1], WORKERS[1], WORKERS[3]),
    )
}


Directions = Callable[[Cluster, str], list[Pair]]  # those of a target


def _with_redis(cluster: Cluster, name: str) -> list[Pair]:
    """Both directions between a process and everything that belongs to Redis."""
    return [pair for host in cluster.redis_hosts for pair in both_ways(name, host)]


def cut(directions: Directions) -> Inject:
    """Let nothing through in some directions, which the target determines."""

    @asynccontextmanager
    async def inject(cluster: Cluster, fault: Fault) -> AsyncIterator[str]:
        pairs = directions(cluster, fault.target)
        is_all_of_redis = {*cluster.redis_hosts} <= {name for pair in pairs for name in pair}
        names = dict.fromkeys(cluster.redis_hosts, REDIS) if is_all_of_redis else {}
        async with cluster.links.cut(pairs):
            ways = sorted({f"{names.get(a, a)} → {names.get(b, b)}" for a, b in pairs})
            yield f"nothing gets through: {', '.join(ways)}"

    return inject


def _halves(cluster: Cluster, target: str) -> list[Pair]:
    return [pair for name in _HALVES[target] for pair in _with_redis(cluster, name)]


def _disturb(how: Callable[[float], Disturbance]) -> Inject:
    @asynccontextmanager
    async def inject(cluster: Cluster, fault: Fault) -> AsyncIterator[str]:
        disturbance = how(fault.strength)
        async with cluster.links.disturb(_with_redis(cluster, fault.target), disturbance):
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
    Card("cut off a gateway", "a gateway and Redis do not reach each other", GATEWAYS): cut(
        _with_redis
    ),
    Card("cut off a worker", "a worker and Redis do not reach each other", WORKERS): cut(
        _with_redis
    ),
    Card("deaf", "nothing from Redis reaches a gateway or worker", _ASKING): cut(
        lambda cluster, name: [(host, name) for host in cluster.redis_hosts]
    ),
    Card("mute", "nothing from a gateway or worker reaches Redis", _ASKING): cut(
        lambda cluster, name: [(name, host) for host in cluster.redis_hosts]
    ),
    Card("halves", "a gateway and two workers do not reach Redis", tuple(_HALVES)): cut(_halves),
    Card("delay", "traffic of a gateway or worker with Redis is late", _ASKING): _disturb(_delay),
    Card("loss", "packets between Redis and another are lost", _ASKING, _NEEDS_PACKETS): _disturb(
        _loss
    ),
    Card(
        "reordering", "packets between Redis and another overtake", _ASKING, _NEEDS_PACKETS
    ): _disturb(_reordering),
}
