"""Which workers are stopped for the last readings, and the files of Redis; no process."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nemesis.cluster.redis_files import write_sentinel, write_server
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


def test_a_sentinel_watches_the_primary(tmp_path: Path) -> None:
    """Two of three must agree."""
    file = tmp_path / "sentinel.conf"
    write_sentinel(file, ("10.0.0.3", 26379), ("10.0.0.1", 6379))
    assert "sentinel monitor hedgerow 10.0.0.1 6379 2" in file.read_text().splitlines()
