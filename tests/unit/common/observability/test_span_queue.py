"""The queue of spans: bounded, counted, and never waited for."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from hedgerow.common.observability.span_queue import BATCH_SPANS, SpanQueue
from tests.support.waiting import block_until


class Receiver:
    """Takes batches when the test lets it; `is_willing` is its answer."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.is_willing = True
        self.error: Exception | None = None
        self.open = threading.Event()
        self.open.set()
        self.has_one = threading.Event()

    def send(self, spans: Sequence[Any]) -> bool:
        """Keep a batch, once the test lets it."""
        self.has_one.set()
        self.open.wait()
        if self.error is not None:
            raise self.error
        if self.is_willing:
            self.batches.append(list(spans))
        return self.is_willing

    def close(self) -> None:
        """Release what it holds."""
        self.open.set()


def queue_of(receiver: Receiver, max_spans: int = 10_000, gather_s: float = 0.01) -> SpanQueue:
    """A queue that has started."""
    queue = SpanQueue(receiver, max_spans, gather_s)
    queue.start()
    return queue


def test_spans_that_come_one_by_one_leave_together() -> None:
    """What was offered before the close is sent, in its order, in few batches."""
    receiver = Receiver()
    queue = queue_of(receiver, gather_s=60.0)
    for number in range(5):
        queue.offer([number])
    queue.close()
    assert receiver.batches == [[0, 1, 2, 3, 4]]
    assert queue.as_dict() == {"sent": 5, "dropped": 0, "waiting": 0}


def test_a_full_batch_does_not_wait_for_more() -> None:
    """As soon as there are enough for a batch, it leaves."""
    receiver = Receiver()
    queue = queue_of(receiver, gather_s=60.0)
    queue.offer(range(BATCH_SPANS))
    block_until(lambda: queue.num_sent == BATCH_SPANS, what="the batch was sent")
    assert [len(batch) for batch in receiver.batches] == [BATCH_SPANS]
    queue.close()


def test_a_receiver_that_hangs_costs_only_spans() -> None:
    """Offering returns at once, what finds no room is counted, and closing takes its time only."""
    receiver = Receiver()
    receiver.open.clear()
    queue = queue_of(receiver, max_spans=10)
    queue.offer([0])
    assert receiver.has_one.wait(10), "it hangs with the first"
    for number in range(1, 31):
        queue.offer([number])
    assert queue.as_dict() == {"sent": 0, "dropped": 20, "waiting": 10}
    queue.close(timeout_s=0.01)  # lets go of the receiver, so that the thread ends
    block_until(lambda: queue.num_sent == 11, what="the rest was sent")
    queue.offer([99])
    assert queue.num_dropped == 21, "after the end there is no room"


@pytest.mark.parametrize("error", [None, ConnectionError("away")])
def test_what_the_receiver_does_not_take_is_dropped(error: Exception | None) -> None:
    """If it refuses spans or raises, these are counted, and later ones are sent."""
    receiver = Receiver()
    receiver.is_willing, receiver.error = False, error
    queue = queue_of(receiver)
    queue.offer([1, 2])
    block_until(lambda: queue.num_dropped == 2, what="they were dropped")
    receiver.is_willing, receiver.error = True, None
    queue.offer([3])
    block_until(lambda: queue.num_sent == 1, what="the next was sent")
    assert receiver.batches == [[3]]
    queue.close()
