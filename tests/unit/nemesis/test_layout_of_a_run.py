"""Which workers are stopped for the last readings, and the files of Redis; no process."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.redis.cluster_view import read_nodes
from hedgerow.common.redis.sentinel_view import Address
from nemesis.cluster.redis_files import write_node, write_sentinel, write_server
from nemesis.run import apart

NAMES = ["a", "b", "c", "d"]


@given(st.lists(st.lists(st.sampled_from(NAMES), min_size=2, max_size=2, unique=True), max_size=6))
def test_each_replica_is_once_alone(pairs: list[list[str]]) -> None:
    """No group takes a shard away, and each worker is stopped once."""
    owners = [frozenset(pair) for pair in pairs]
    groups = apart(NAMES, owners)
    assert sorted(one for group in groups for one in group) == NAMES
    for group in groups:
        assert not any(pair <= set(group) for pair in owners)


def test_two_groups_if_there_are_such() -> None:
    """In a ring of four, opposite workers are stopped together; in a triangle, each by itself."""
    ring = [frozenset(pair) for pair in ("ab", "bc", "cd", "da")]
    assert apart(NAMES, ring) == [["a", "c"], ["b", "d"]]
    triangle = [frozenset(pair) for pair in ("ab", "bc", "ca")]
    assert apart(NAMES, triangle) == [["a"], ["b"], ["c"], ["d"]]


def test_a_standby_follows_the_primary_and_has_the_settings_of_compose(tmp_path: Path) -> None:
    """Its file names the primary, its own address and folder; compose's own folder is not in it."""
    file = tmp_path / "redis-1.conf"
    write_server(file, tmp_path / "data", ("10.0.0.2", 7), primary=("10.0.0.1", 6))
    lines = file.read_text().splitlines()
    assert {"replicaof 10.0.0.1 6", "bind 10.0.0.2", "port 7", f"dir {tmp_path / 'data'}"} < {
        *lines
    }
    assert "appendonly yes" in lines
    assert "dir /data" not in lines
    write_server(file, tmp_path / "data", ("10.0.0.1", 6), primary=None)
    assert "replicaof" not in file.read_text()


def test_nodes_have_met_before_they_start(tmp_path: Path) -> None:
    """Each file names all nodes, one as its own; each hash slot has one primary, with a replica."""
    nodes = [(f"10.0.0.{number}", 6379) for number in range(6)]
    for number, own in enumerate(nodes):
        data = tmp_path / str(number)
        data.mkdir()
        write_node(tmp_path / "node.conf", data, own, nodes, 3)
        assert "cluster-enabled yes" in (tmp_path / "node.conf").read_text().splitlines()
        *lines, epochs = (data / "nodes.conf").read_text().splitlines()
        assert epochs == "vars currentEpoch 3 lastVoteEpoch 0"
        assert [place for place, line in enumerate(lines) if "myself," in line] == [number]
        reports = read_nodes("\n".join(lines), Address(*own))
        assert [tuple(one.address) for one in reports] == nodes
        for slot in range(16384):
            assert sum(one.has(slot) for one in reports) == 1
        for place in range(3):
            assert reports[place].is_primary
            assert lines[place + 3].split()[2:4] == ["slave", reports[place].id] or (
                place + 3 == number
            )
        assert lines[number].split()[2].removeprefix("myself,") in ("master", "slave")


def test_a_sentinel_watches_the_primary(tmp_path: Path) -> None:
    """Two of three must agree."""
    file = tmp_path / "sentinel.conf"
    write_sentinel(file, ("10.0.0.3", 26379), ("10.0.0.1", 6379))
    assert "sentinel monitor hedgerow 10.0.0.1 6379 2" in file.read_text().splitlines()
