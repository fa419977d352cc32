"""What the documents of answers may take of a gateway's memory."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.search.documents.answer_memory import SMALL_BYTES, AnswerMemory, Lease

LARGE = SMALL_BYTES + 1


def test_a_party_holds_at_most_as_much_as_stays_free() -> None:
    """What would pass that is refused and counted, and leaves the rest as it was."""
    memory = AnswerMemory(6 * LARGE)
    one, other = memory.lease("a"), memory.lease("a")
    assert one.take(2 * LARGE)
    assert not other.take(2 * LARGE)
    assert other.take(LARGE)
    assert not other.take(LARGE)
    assert memory.as_dict() == {"held_bytes": 3 * LARGE, "refused": 2}


def test_a_slow_reader_leaves_room_for_the_largest_answer_of_another() -> None:
    """With the defaults, what one party can hold costs another none of an answer's documents."""
    settings = GatewaySettings()
    memory = AnswerMemory(settings.max_held_bytes)
    slow: list[Lease] = []
    while (lease := memory.lease("@10.0.0.1")).take(LARGE):
        slow.append(lease)
    other = memory.lease("@10.0.0.2")
    for _ in range(8):  # shards
        assert other.take(settings.max_answer_bytes // 8)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.integers(LARGE, 9 * LARGE), st.booleans()),
        max_size=200,
    )
)
def test_all_parties_together_stay_within_the_limit(steps: list[tuple[str, int, bool]]) -> None:
    """Whatever is taken and given back, no more is held; a party that holds nothing gets a part."""
    limit = 99 * LARGE
    memory = AnswerMemory(limit)
    held: list[tuple[str, int, Lease]] = []
    for party, num_bytes, is_end in steps:
        if is_end and held:
            held.pop(num_bytes % len(held))[2].release()
            continue
        free = limit - sum(size for _, size, _ in held)
        own = sum(size for name, size, _ in held if name == party)
        lease = memory.lease(party)
        if lease.take(num_bytes):
            held.append((party, num_bytes, lease))
            assert own + num_bytes <= free - num_bytes
        else:
            assert own + num_bytes > free - num_bytes
        assert memory.held_bytes == sum(size for _, size, _ in held) <= limit
    for _, _, lease in held:
        lease.release()
    assert memory.held_bytes == 0


def test_small_replies_do_not_count() -> None:
    """However full the memory is, an answer of the usual size has its documents."""
    memory = AnswerMemory(0)
    lease = memory.lease("a")
    assert all(lease.take(SMALL_BYTES) for _ in range(9))
    assert memory.as_dict() == {"held_bytes": 0, "refused": 0}


def test_what_an_answer_holds_is_given_back_once() -> None:
    """Its release gives it back, and its end does not do so again."""
    memory = AnswerMemory(9 * LARGE)
    lease, other = memory.lease("a"), memory.lease("a")
    assert lease.take(LARGE)
    assert lease.take(LARGE)
    assert other.take(LARGE)
    lease.release()
    del lease
    assert memory.held_bytes == LARGE


def test_an_answer_that_is_forgotten_holds_nothing() -> None:
    """The last reference to a lease gives it back, however the answer has ended."""
    memory = AnswerMemory(2 * LARGE)
    lease = memory.lease("a")
    assert lease.take(LARGE)
    del lease
    assert memory.held_bytes == 0
    assert memory.lease("a").take(LARGE)
