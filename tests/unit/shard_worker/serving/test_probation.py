"""Which shards a worker on probation leaves to others, by what it reads itself."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.state.probation import ProbationEntry
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.serving.probation import shards_to_leave
from tests.unit.support.heartbeats import beat

EXPIRY_MS = 2000.0
NOW_MS = 10_000
NAMES = [f"w{number}" for number in range(4)]

entries = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(ProbationEntry, st.just("g"), st.just(""), st.just(0), st.integers(9_998, 10_002)),
)
beats = st.fixed_dictionaries(
    {
        name: st.builds(
            beat,
            st.just(name),
            st.lists(st.integers(0, 3), unique=True),
            st.integers(7_998, 10_000),
        )
        for name in NAMES
    }
)


@given(entries, beats)
def test_a_shard_is_left_exactly_when_another_takes_it(
    said: dict[str, ProbationEntry], heartbeats: dict[str, Heartbeat]
) -> None:
    """Every live shard has a worker that serves it; one on probation serves only where it must."""
    on = {name for name, word in said.items() if word.until_ms > NOW_MS}
    live = {name: one for name, one in heartbeats.items() if NOW_MS - one.beat_at_ms < EXPIRY_MS}
    left = {
        name: shards_to_leave(name, one.shards, said, heartbeats, NOW_MS, EXPIRY_MS)
        for name, one in live.items()
    }
    for shard in range(4):
        hosts = [name for name, one in live.items() if shard in one.shards]
        takers = [name for name in hosts if shard not in left[name]]
        well = [name for name in hosts if name not in on]
        assert takers == (well or hosts)
