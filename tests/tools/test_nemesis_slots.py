"""The nemesis moves slots of a real Valkey Cluster, also when an attempt was cut short."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest

from bench.harness.redis_cluster import RedisCluster, running_redis_cluster
from bench.harness.sentinels import Node, wait_until
from hedgerow.common.redis.hash_slots import tags

NUM_KEYS = 25
PATIENT_S = 30.0


@pytest.fixture
def nodes() -> Iterator[RedisCluster]:
    """Three nodes with a replica each."""
    with running_redis_cluster(num_replicas=1) as cluster:
        yield cluster


def _slots(nodes: RedisCluster, what: str, *more: str) -> str:
    addresses = ",".join(str(node.address) for node in nodes.nodes)
    command = [sys.executable, "-m", "nemesis.cluster.slots", what, "1", addresses, *more]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _fill(nodes: RedisCluster) -> list[str]:
    """Keys of the second slot."""
    names = [f"{{{tags(3)[1]}}}:{number}" for number in range(NUM_KEYS)]
    for name in names:
        nodes.nodes[1].ask("SET", name, name)
    return names


def _read(nodes: RedisCluster, address: str, names: list[str]) -> list[bytes | None]:
    node = next(one for one in nodes.nodes if str(one.address) == address)
    return [node.ask("GET", name) for name in names]


def test_a_slot_moves_with_its_keys(nodes: RedisCluster) -> None:
    """It is another node's in the end, and everything is there."""
    names = _fill(nodes)
    first = _slots(nodes, "owner")
    assert first == str(nodes.nodes[1].address)
    to = _slots(nodes, "begin", "0.9")
    assert to == str(nodes.nodes[2].address)
    assert _slots(nodes, "owner") == first  # until it has moved
    _slots(nodes, "end", to)
    assert _slots(nodes, "owner") == to
    assert _read(nodes, to, names) == [name.encode() for name in names]


def test_a_move_that_a_failure_cut_short_is_completed(nodes: RedisCluster) -> None:
    """Half of the keys are there when the slot's node fails, and its replica has the others."""
    names, old = _fill(nodes), nodes.nodes[1]
    to = _slots(nodes, "begin", "0.9")
    host, _, port = to.rpartition(":")
    old.ask("MIGRATE", host, int(port), "", 0, 2000, "KEYS", *names[: NUM_KEYS // 2])
    wait_until(partial(_is_followed, old), PATIENT_S, what="the replica knows what is gone")
    old.kill()
    wait_until(
        lambda: _slots(nodes, "owner") != str(old.address),
        PATIENT_S,
        what="the replica has the slot",
    )
    nodes.start_node(old)
    _slots(nodes, "end", to)
    assert _slots(nodes, "owner") == to
    assert _read(nodes, to, names) == [name.encode() for name in names]


def _is_followed(node: Node) -> bool:
    told = node.ask("INFO", "replication")
    replica = told.get("slave0", {"offset": None})
    return bool(replica["offset"] == told["master_repl_offset"])
