"""When a shard's log is full, by entries and by bytes."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.writes.backlog import Backlog


def test_full_by_entries() -> None:
    """A log with more entries than the limit is full until it is shorter, whatever wrote them."""
    backlog = Backlog(max_entries=3, entry_bytes=1000)
    backlog.add(0, 1, length=3)
    assert not backlog.is_full(0)
    backlog.add(0, 1, length=4)
    assert backlog.is_full(0)
    assert not backlog.is_full(1)
    backlog.see(0, length=3)
    assert not backlog.is_full(0)


def test_full_by_bytes() -> None:
    """A few large entries fill a log as many small ones do, until enough of them are applied."""
    backlog = Backlog(max_entries=100, entry_bytes=10)
    for length in (1, 2, 3):
        backlog.add(0, 400, length)
    assert backlog.is_full(0)
    backlog.see(0, length=2)
    assert not backlog.is_full(0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 5)), max_size=40))
def test_bytes_are_never_taken_for_fewer(steps: list[tuple[bool, int, int]]) -> None:
    """However a log is written by others too and trimmed, our bytes in it are not underestimated.

    Each step appends an entry, ours or another's, and then applies and trims some of the oldest.
    """
    backlog = Backlog(max_entries=1000, entry_bytes=1000)
    log: list[int] = []  # our bytes in each entry; 0 for another's
    for is_ours, size, num_trimmed in steps:
        log.append(size if is_ours else 0)
        if is_ours:
            backlog.add(0, size, len(log))
        del log[:num_trimmed]
        backlog.see(0, len(log))
        assert backlog._num_bytes.get(0, 0) >= sum(log)
        assert len(backlog._sizes.get(0, ())) <= len(log)
