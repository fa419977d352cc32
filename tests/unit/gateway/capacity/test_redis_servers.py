"""How many Redis servers a load needs."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.capacity.redis_servers import (
    RedisLoad,
    RedisServers,
    clusters_for,
    nodes_for,
)

LOADS = st.builds(
    RedisLoad,
    qps=st.floats(1, 50_000),
    search_us=st.floats(5, 1000),
    node_us=st.floats(0, 20),
    writes=st.floats(0, 100_000),
    write_us=st.floats(0.1, 5),
    aim_us=st.floats(100_000, 950_000),
)
SHARDS = st.integers(1, 200)


def busiest_us(load: RedisLoad, shards: int, nodes: int) -> float:
    """What the busiest node uses, when shards are dealt out one by one."""
    dealt = [0] * nodes
    for shard in range(shards):
        dealt[shard % nodes] += 1
    search_us = load.search_us + (nodes - 1) * load.node_us
    whole = load.qps * search_us + load.writes * load.write_us
    return whole * max(dealt) / shards


def enough(load: RedisLoad, shards: int) -> Iterator[int]:
    """Every number of nodes that carries the load."""
    for nodes in range(1, shards + 1):
        if busiest_us(load, shards, nodes) <= load.aim_us * (1 + 1e-9):
            yield nodes


def found(load: RedisLoad, shards: int) -> RedisServers | None:
    """The plan; None if the load is refused for its number of shards."""
    try:
        return nodes_for(load, shards)
    except BadRequestError as refused:
        if refused.field != "redis_cluster":
            raise
        return None


@given(load=LOADS, shards=SHARDS)
def test_it_is_the_fewest_nodes_that_carry_the_load(load: RedisLoad, shards: int) -> None:
    """Compared with trying every number of nodes, at most one for each shard."""
    planned = found(load, shards)
    fewest = next(enough(load, shards), None)
    assert (planned and planned.nodes) == fewest
    if planned is not None:
        assert planned.busy_us == pytest.approx(busiest_us(load, shards, planned.nodes))
        assert planned.clusters == 1


@given(load=LOADS, shards=SHARDS, factor=st.floats(1, 10))
def test_more_load_never_needs_fewer_nodes(load: RedisLoad, shards: int, factor: float) -> None:
    """More searches, dearer ones or more writes need as many nodes, or more, or are too much."""
    planned = found(load, shards)
    for more in (
        load._replace(qps=load.qps * factor),
        load._replace(search_us=load.search_us * factor),
        load._replace(writes=load.writes * factor),
    ):
        larger = found(more, shards)
        assert larger is None or (planned is not None and larger.nodes >= planned.nodes)


@given(load=LOADS, shards=SHARDS)
def test_what_it_says_that_servers_carry_they_carry(load: RedisLoad, shards: int) -> None:
    """At the rate that it states, the busiest server is exactly as busy as it may be."""
    planned = found(load, shards)
    if planned is not None:
        most = load._replace(qps=planned.searches)
        assert busiest_us(most, shards, planned.nodes) == pytest.approx(load.aim_us)


@given(load=LOADS, shards=SHARDS)
def test_clusters_beside_each_other_share_searches_and_all_have_the_writes(
    load: RedisLoad, shards: int
) -> None:
    """Each is at most as busy as it may be, and one less would not do."""
    searches_us, writes_us = load.qps * load.search_us, load.writes * load.write_us
    if writes_us >= load.aim_us:
        with pytest.raises(BadRequestError) as refused:
            clusters_for(load, shards)
        assert refused.value.field == "writes"
        return
    planned = clusters_for(load, shards)
    assert planned.nodes == 1
    assert searches_us / planned.clusters + writes_us <= load.aim_us * (1 + 1e-9)
    if planned.clusters > 1:
        assert searches_us / (planned.clusters - 1) + writes_us > load.aim_us * (1 - 1e-9)


def test_a_single_server_is_a_plain_one() -> None:
    """No node is counted as a further one."""
    load = RedisLoad(100, search_us=50, node_us=1000, writes=0, write_us=1, aim_us=600_000)
    assert nodes_for(load, 8).busy_us == 5000
