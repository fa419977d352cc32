"""What a worker keeps of the log's end."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.shard_log.entries import Entry, strangers
from hedgerow.shard_worker.indexing.log_tail import RecentEntries


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), max_size=30))
def test_the_newest_entries_are_kept_within_both_bounds(added: list[tuple[float, int]]) -> None:
    """The kept entries are the last ones, young enough and small enough; no other would fit."""
    recent, now = RecentEntries(max_age_s=10.0, max_bytes=100), 0.0
    entries: list[tuple[float, Entry]] = []
    for number, (pause_s, size) in enumerate(added):
        now += pause_s
        entries.append((now, Entry(f"{number}-0", b"x" * size)))
        recent.add([entries[-1][1]], now)
        kept = recent.list()
        assert kept == [entry for _, entry in entries[len(entries) - len(kept) :]]
        assert sum(len(entry.op) for entry in kept) <= 100
        assert all(at >= now - 10.0 for at, entry in entries if entry in kept)
        if len(kept) < len(entries):
            at, dropped = entries[-len(kept) - 1]
            assert at < now - 5.0 or sum(len(one.op) for one in [dropped, *kept]) > 100


def test_a_stranger_has_an_unknown_id_or_other_contents() -> None:
    """The same id does not mean the same entry once another server gave it."""
    one, two = Entry("1-0", b"a"), Entry("2-0", b"b")
    other = Entry("2-0", b"c")
    assert strangers([one, two], [one, two]) == []
    assert strangers([one, other], [one, two]) == [other]
    assert strangers([one, two], [two]) == [one]
