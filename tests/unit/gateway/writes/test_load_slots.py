"""How many loads may run, and which gives way."""

import pytest

from hedgerow.common.errors import OverloadedError
from hedgerow.gateway.writes.load_slots import LoadSlots


def test_loads_that_go_on_keep_their_places() -> None:
    """A load over the limit is refused while the others have lines to process or just had."""
    slots = LoadSlots(2, idle_s=10.0)
    busy, waiting = slots.take(0.0), slots.take(0.0)
    busy.work()
    waiting.work()
    waiting.wait(91.0, 1)
    with pytest.raises(OverloadedError, match=r"gateway\.max_loads") as refused:
        slots.take(100.0)
    assert refused.value.cause == "loads"
    assert not busy.has_lost
    assert not waiting.has_lost


def test_the_load_that_has_waited_longest_for_its_client_gives_way() -> None:
    """A place that has been idle for the time goes to a new load, and only one does."""
    slots = LoadSlots(3, idle_s=10.0)
    first, second, third = (slots.take(now) for now in (0.0, 1.0, 2.0))
    first.work()
    first.wait(5.0, 1)
    slots.take(11.5)
    assert [slot.has_lost for slot in (first, second, third)] == [False, True, False]
    assert len(slots) == 3


def test_bytes_without_an_end_of_line_do_not_keep_a_place() -> None:
    """Waiting counts from the last line, and not from the last look at the load."""
    slots = LoadSlots(1, idle_s=10.0)
    slot = slots.take(0.0)
    for now in range(1, 10):
        slot.wait(float(now), 0)
    slots.take(10.0)
    assert slot.has_lost


def test_lines_that_are_rejected_do_not_keep_a_place() -> None:
    """A load that sometimes has lines to process waits since its last accepted document."""
    slots = LoadSlots(2, idle_s=10.0)
    useful, useless = slots.take(0.0), slots.take(0.0)
    for now in range(1, 12):
        for slot, progress in ((useful, now), (useless, 1)):
            slot.work()
            slot.wait(float(now), progress)
    slots.take(12.0)
    assert [useful.has_lost, useless.has_lost] == [False, True]


def test_a_party_that_has_many_places_makes_room_for_another() -> None:
    """Of two parties, the one with more gives way, by the load that waits for its client."""
    slots = LoadSlots(4, idle_s=60.0)
    many = [slots.take(float(now), "@10.0.0.1") for now in range(4)]
    many[0].work()
    slots.take(5.0, "@10.0.0.2")
    assert [slot.has_lost for slot in many] == [False, True, False, False]
    slots.take(6.0, "@10.0.0.2")
    assert [slot.has_lost for slot in many] == [False, True, True, False]
    with pytest.raises(OverloadedError):  # two each
        slots.take(7.0, "@10.0.0.2")
    with pytest.raises(OverloadedError):
        slots.take(7.0, "@10.0.0.1")


def test_loads_that_are_seen_to_keep_their_places_from_other_parties() -> None:
    """A load with lines to process is not ended for another party."""
    slots = LoadSlots(2, idle_s=60.0)
    for slot in [slots.take(0.0, "@10.0.0.1") for _ in range(2)]:
        slot.work()
    with pytest.raises(OverloadedError):
        slots.take(1.0, "@10.0.0.2")


def test_a_load_that_has_lost_its_place_gives_back_nothing() -> None:
    """The end of such a load does not free the place that another one has now."""
    slots = LoadSlots(1, idle_s=0.0)
    lost = slots.take(0.0)
    kept = slots.take(1.0)
    slots.give_back(lost)
    assert len(slots) == 1
    slots.give_back(kept)
    assert len(slots) == 0
