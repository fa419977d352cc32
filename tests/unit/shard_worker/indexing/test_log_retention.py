"""What a log keeps, and up to where it is trimmed."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.shard_log.entries import START, position
from hedgerow.shard_worker.indexing.log_retention import LogRetention, trim_position

positions = st.builds("{}-{}".format, st.integers(0, 12), st.integers(0, 3))


@given(st.lists(positions, max_size=4), st.none() | positions, st.lists(positions, max_size=10))
def test_a_log_loses_nothing_that_anybody_needs(
    applied: list[str], snapshot: str | None, log: list[str]
) -> None:
    """What is trimmed is exactly what every replica and the newest snapshot have."""
    upto = trim_position(applied, snapshot)
    holders = [*applied, *([] if snapshot is None else [snapshot])]
    for entry in log:
        is_needed = not applied or any(position(one) < position(entry) for one in holders)
        if position(entry) > (0, 0):
            assert is_needed is (upto is None or position(entry) > position(upto))


def test_without_a_snapshot_nothing_goes() -> None:
    """Where snapshots are made, a log is whole until there is one."""
    assert trim_position(["7-0", "9-1"], START) is None
    assert trim_position(["7-0", "9-1"], None) == "7-0"
    assert trim_position([], None) is None


@given(st.sets(positions), positions, positions)
def test_entries_are_counted(entries: set[str], trimmed: str, upto: str) -> None:
    """As many are counted as are after the trimmed ones and up to a position."""
    ordered = sorted(entries, key=position)
    kept = LogRetention(ordered[: len(ordered) // 2])
    kept.add(ordered[len(ordered) // 2 :])
    kept.trim(trimmed)
    left = [one for one in ordered if position(one) > position(trimmed)]
    assert len(kept) == len(left)
    assert kept.count(upto) == sum(position(one) <= position(upto) for one in left)
