"""What the documents of answers may take of a gateway's memory."""

from gateway.answer_memory import SMALL_BYTES, AnswerMemory

LARGE = SMALL_BYTES + 1


def test_replies_are_held_up_to_the_limit() -> None:
    """What would pass the limit is refused and counted, and leaves the rest as it was."""
    memory = AnswerMemory(3 * LARGE)
    one, other = memory.lease(), memory.lease()
    assert one.take(2 * LARGE)
    assert not other.take(2 * LARGE)
    assert other.take(LARGE)
    assert memory.as_dict() == {"held_bytes": 3 * LARGE, "refused": 1}


def test_small_replies_do_not_count() -> None:
    """However full the memory is, an answer of the usual size has its documents."""
    memory = AnswerMemory(0)
    lease = memory.lease()
    assert all(lease.take(SMALL_BYTES) for _ in range(9))
    assert memory.as_dict() == {"held_bytes": 0, "refused": 0}


def test_what_an_answer_holds_is_given_back_once() -> None:
    """By its release, and not again by its end."""
    memory = AnswerMemory(9 * LARGE)
    lease, other = memory.lease(), memory.lease()
    assert lease.take(LARGE)
    assert lease.take(LARGE)
    assert other.take(LARGE)
    lease.release()
    del lease
    assert memory.held_bytes == LARGE


def test_an_answer_that_is_forgotten_holds_nothing() -> None:
    """The last reference to a lease gives it back, however the answer has ended."""
    memory = AnswerMemory(LARGE)
    lease = memory.lease()
    assert lease.take(LARGE)
    del lease
    assert memory.held_bytes == 0
