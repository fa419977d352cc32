"""How much a reindex copies at a time."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.reindexing.pace import FEWEST, MOST, TURN_S, Pace, one_per_host

hosts = st.dictionaries(
    st.integers(0, 9), st.sets(st.sampled_from("abcd"), min_size=1, max_size=2), min_size=1
)


@given(st.lists(st.floats(0, 10), max_size=30))
def test_a_turn_grows_while_it_is_short_and_stays_within_bounds(times: list[float]) -> None:
    """It never copies less than a few documents, nor so many that writes wait for long."""
    pace = Pace()
    for took_s in times:
        before = pace.documents
        pace.adapt(took_s)
        assert FEWEST <= pace.documents <= MOST
        assert pace.documents <= before or took_s < TURN_S
        assert pace.documents >= before or took_s > TURN_S


def test_what_cannot_be_applied_is_halved_down_to_one_document() -> None:
    """Only in its own shard; a single document cannot be halved."""
    pace = Pace()
    sizes = [pace.of(1)]
    while pace.halve(1):
        sizes.append(pace.of(1))
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[-1], pace.of(0)) == (1, pace.documents)


@given(hosts)
def test_no_host_indexes_two_shards_at_once(replicas: dict[int, set[str]]) -> None:
    """And none that could be copied, too, is left out."""
    chosen = one_per_host(sorted(replicas), replicas)
    used = [host for shard in chosen for host in replicas[shard]]
    assert len(used) == len(set(used))
    assert chosen
    for shard in replicas.keys() - set(chosen):
        assert replicas[shard] & set(used)
