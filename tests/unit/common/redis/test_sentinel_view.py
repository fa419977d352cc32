"""Which server is the primary, by what sentinels say."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.redis.sentinel_view import Address, Report, SentinelView

A, B, C = (Address("10.0.0.1", port) for port in (1, 2, 3))


def test_a_sentinel_that_lags_behind_changes_nothing() -> None:
    """Once one sentinel has told of a failover, the others' older reports do not undo it."""
    view = SentinelView()
    assert view.take("s1", Report(1, A))
    assert view.take("s2", Report(2, B))
    assert not view.take("s1", Report(1, A))
    assert not view.take("s3", Report(1, A))
    assert view.primary == B


def test_within_an_epoch_the_most_decide() -> None:
    """Sentinels that were configured differently do not make the primary change back and forth."""
    view = SentinelView()
    view.take("s1", Report(0, A))
    assert not view.take("s2", Report(0, B))
    assert view.primary == A
    assert view.take("s3", Report(0, B))
    assert not view.take("s1", Report(0, A))
    assert view.primary == B


def test_a_service_that_is_monitored_anew_is_followed() -> None:
    """Epochs begin at 0 again when all sentinels were told of another primary by hand."""
    view = SentinelView()
    for sentinel in ("s1", "s2"):
        view.take(sentinel, Report(7, A))
    view.take("s1", Report(0, B))
    assert view.primary == A
    view.take("s2", Report(0, B))
    assert view.primary == B


@given(
    st.lists(
        st.tuples(st.sampled_from("123"), st.integers(0, 5), st.sampled_from([A, B, C])),
        min_size=1,
    )
)
def test_the_primary_is_one_of_the_newest_reports(
    reports: list[tuple[str, int, Address]],
) -> None:
    """Whatever sentinels say, the primary is named by one with the highest epoch of the last."""
    view, last = SentinelView(), dict[str, Report]()
    for sentinel, epoch, address in reports:
        before = view.primary
        last[sentinel] = Report(epoch, address)
        assert view.take(sentinel, last[sentinel]) == (view.primary != before)
        newest = max(report.epoch for report in last.values())
        assert view.primary in {one.address for one in last.values() if one.epoch == newest}
