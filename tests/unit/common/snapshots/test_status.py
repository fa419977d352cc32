"""The times of snapshots, whatever the server's clock does."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.snapshots.manifest import snapshot_id
from hedgerow.common.snapshots.status import SnapshotFacts, SnapshotStatus

# What happens at an instant of the clock, which jumps both ways, days ahead and back.
clock_times = st.integers(0, 10) | st.integers(10**12, 10**12 + 10**9)
happenings = st.lists(st.tuples(st.sampled_from(["request", "begin", "complete"]), clock_times))


@given(happenings)
def test_a_clock_that_is_set_changes_no_order(happened: list[tuple[str, int]]) -> None:
    """Snapshots sort as they were begun; only one that was begun after a request counts for it.

    The clock is not set back while one is being made.
    """
    status, begun, requests, ids, least_ms = SnapshotStatus(), None, [], [], 0
    for number, (what, clock_ms) in enumerate(happened):
        now_ms = clock_ms if begun is None else max(clock_ms, least_ms)
        least_ms = now_ms + 1
        if what == "request":
            wanted_at_ms = status.next_wanted_at_ms(now_ms)
            requests.append((number, wanted_at_ms))
            status = status._replace(wanted_at_ms=wanted_at_ms)
        elif what == "begin" and begun is None:
            begun = number, status.next_made_at_ms(now_ms)
        elif what == "complete" and begun is not None:
            (began, made_at_ms), begun = begun, None
            ids.append(snapshot_id(made_at_ms, "0a1b2c"))
            status = status._replace(newest=SnapshotFacts(ids[-1], "5-0", made_at_ms, 1, 1))
            for requested, wanted_at_ms in requests:
                assert (made_at_ms >= wanted_at_ms) is (began > requested)
    assert ids == sorted(set(ids))
