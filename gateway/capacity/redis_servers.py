"""How many Redis servers a load needs. Pure.

One core executes all commands of a server. A load that is too much for one needs either

- several clusters beside each other, each with a plain server and all documents: each takes its
  part of the searches, and all of the writes; or
- one cluster whose shards the nodes of a Redis Cluster share: each takes its shards' part of both,
  and every further node costs every search something.
"""

import math
from typing import NamedTuple

from hedgerow.common.errors import BadRequestError


class RedisServers(NamedTuple):
    """The servers that carry requests and logs.

    Attributes:
        clusters: of gateways and workers, beside each other, each with all documents.
        nodes: servers of each of these clusters.
        most_shards: on the busiest node.
        busy_us: CPU time that the busiest server uses in a second, in µs.
        searches: a second that the servers of one cluster carry at the aimed utilisation.
    """

    clusters: int
    nodes: int
    most_shards: int
    busy_us: float
    searches: float


class RedisLoad(NamedTuple):
    """What Redis has to carry.

    Attributes:
        qps: searches a second.
        search_us: CPU of one with a plain server.
        node_us: more for each further node of a Redis Cluster.
        writes: documents written a second.
        write_us: CPU of one.
        aim_us: CPU time that a server should use in a second at most.
    """

    qps: float
    search_us: float
    node_us: float
    writes: float
    write_us: float
    aim_us: float

    @property
    def writes_us(self) -> float:
        """CPU of the writes in a second."""
        return self.writes * self.write_us


def clusters_for(load: RedisLoad, shards: int) -> RedisServers:
    """Return as many clusters with a plain server each as the load needs.

    Raises:
        BadRequestError: a server cannot take the writes.
    """
    for_searches = load.aim_us - load.writes_us
    if for_searches <= 0:
        most = load.aim_us / load.write_us
        raise BadRequestError("writes", f"one Redis server takes at most {most:,.0f}")
    clusters = math.ceil(load.qps * load.search_us / for_searches)
    busy_us = load.qps / clusters * load.search_us + load.writes_us
    return RedisServers(clusters, 1, shards, busy_us, for_searches / load.search_us)


def nodes_for(load: RedisLoad, shards: int) -> RedisServers:
    """Return one cluster with as many nodes of a Redis Cluster as the load needs.

    Raises:
        BadRequestError: it needs more nodes than there are shards.
    """
    # It never takes fewer than if the shards could be shared out evenly.
    further_us = load.aim_us - load.qps * load.node_us
    needed_us = load.qps * (load.search_us - load.node_us) + load.writes_us
    nodes = max(1, math.floor(needed_us / further_us)) if further_us > 0 else 1
    while nodes <= shards:
        found = _with(load, shards, nodes)
        if found.busy_us <= load.aim_us:
            return found
        # Any number of nodes up to this one leaves the busiest with as many shards.
        nodes = shards + 1 if found.most_shards == 1 else -(-shards // (found.most_shards - 1))
    most = _with(load, shards, shards).searches
    raise BadRequestError(
        "redis_cluster",
        f"{shards:,} shards are too few: a node for each carries {max(0, most):,.0f} searches a "
        f"second of {load.qps:,.0f}, and all of the writes",
    )


def _with(load: RedisLoad, shards: int, nodes: int) -> RedisServers:
    most_shards = math.ceil(shards / nodes)
    share = most_shards / shards
    search_us = load.search_us + (nodes - 1) * load.node_us
    return RedisServers(
        clusters=1,
        nodes=nodes,
        most_shards=most_shards,
        busy_us=share * (load.qps * search_us + load.writes_us),
        searches=(load.aim_us / share - load.writes_us) / search_us,
    )
