"""When a shard's term statistics are collected, and what names their sum."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.state.statistics import StatisticsStatus, version_of
from hedgerow.shard_worker.control.jobs import is_due
from hedgerow.shard_worker.indexing.shard_report import CollectionReport, pack_ids


def report(documents: int, changes: int) -> CollectionReport:
    """What a shard holds."""
    return CollectionReport("u", "{}", documents, 1, changes, pack_ids([]))


def due(
    documents: int, changes: int, collected: int | None, quiet_s: float, since_s: float
) -> bool:
    """The decision, for an interval of a minute."""
    return is_due(
        report(documents, changes), collected, quiet_s=quiet_s, since_s=since_s, interval_s=60.0
    )


def test_nothing_to_collect() -> None:
    """Neither an empty shard nor an unchanged one is collected, however long it has been."""
    assert not due(0, 0, None, quiet_s=1e9, since_s=1e9)
    assert not due(100, 100, 100, quiet_s=1e9, since_s=1e9)


def test_the_end_of_a_bulk_load_is_not_waited_for_long() -> None:
    """A shard that has changed much is collected once it is quiet, not before."""
    for collected in (None, 100):
        assert not due(5000, 5000, collected, quiet_s=0.0, since_s=5.0)
        assert due(5000, 5000, collected, quiet_s=2.0, since_s=5.0)


def test_a_trickle_waits_for_the_interval() -> None:
    """A few changes among many documents are collected once an interval, quiet or not."""
    for quiet_s in (0.0, 30.0):
        assert not due(100_000, 100_005, 100_000, quiet_s=quiet_s, since_s=59.0)
        assert due(100_000, 100_005, 100_000, quiet_s=quiet_s, since_s=61.0)


labels = st.dictionaries(st.integers(0, 5), st.text("ab:1", min_size=1, max_size=3), max_size=4)


@given(labels, labels)
def test_a_sum_is_current_only_for_its_own_labels(
    summed: dict[int, str], now: dict[int, str]
) -> None:
    """The version of a sum is that of the shards' statistics exactly when they are the same."""
    assert StatisticsStatus(now, version_of(summed)).is_current == (summed == now)
