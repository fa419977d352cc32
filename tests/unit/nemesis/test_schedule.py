"""The schedule, and the files and helpers around it that need no cluster."""

import random
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemesis.cluster.packets import Wire
from nemesis.faults.catalogue import FAULTS
from nemesis.history import Note, Recorder, read_history
from nemesis.load.exchange import whole_answer
from nemesis.schedule import LONGEST_S, SHORTEST_S, rounds
from tests.unit.nemesis.made_up import group_search, state, write

CARDS = list(FAULTS)


@given(st.integers(0, 2**32))
def test_a_schedule_is_a_function_of_its_seed(seed: int) -> None:
    """The same seed gives the same rounds; faults are within the bounds of their kinds."""
    first, second = (list(islice(rounds(seed, CARDS), 40)) for _ in range(2))
    assert first == second
    kinds = {card.kind: card for card in CARDS}
    for planned in first:
        assert min(fault.at_s for fault in planned.faults) == 0.0
        for fault in planned.faults:
            card = kinds[fault.kind]
            assert fault.target in card.targets
            assert 0.0 <= fault.strength <= 1.0
            lasts = SHORTEST_S <= fault.for_s <= LONGEST_S
            assert lasts if card.lasts else fault.for_s == 0.0


def test_seeds_differ() -> None:
    """Another seed gives other rounds."""
    schedules = {tuple(islice(rounds(seed, CARDS), 5)) for seed in range(20)}
    assert len(schedules) == 20


def test_each_kind_comes_about_equally_often() -> None:
    """As from a deck that is used up before it is shuffled again; some come seldom."""
    kinds = [fault.kind for one in islice(rounds(3, CARDS), 500) for fault in one.faults]
    counts = Counter(kinds)
    for card in CARDS:
        if card.seldom:
            assert counts.pop(card.kind) == pytest.approx(500 * card.seldom, rel=0.3)
    assert set(counts) == {card.kind for card in CARDS if not card.seldom}
    assert max(counts.values()) - min(counts.values()) <= 1


def test_seldom_faults_come_beside_the_others() -> None:
    """Without them, a seed means the same rounds."""
    often = [card for card in CARDS if not card.seldom]
    for whole, rest in zip(islice(rounds(3, CARDS), 50), rounds(3, often), strict=False):
        kinds = {card.kind for card in often}
        assert tuple(fault for fault in whole.faults if fault.kind in kinds) == rest.faults


def test_a_history_is_read_as_it_was_recorded(tmp_path: Path) -> None:
    """Events of several files come back equal, by time; half a last line is left out."""
    events = [write(3, 1), group_search(1, down=2), state(2), Note(at=4, text="ü")]
    for number, part in enumerate((events[:2], events[2:])):
        recorder = Recorder(tmp_path / f"{number}.jsonl")
        for event in part:
            recorder.record(event)
        recorder.close()
    with (tmp_path / "1.jsonl").open("ab") as file:
        file.write(b'{"is":"note","at":5')
    read = read_history(sorted(tmp_path.glob("*.jsonl")))
    assert read == sorted(events, key=lambda event: event.at)


def test_packets_are_late_lost_or_early_in_one_direction_only() -> None:
    """A disturbance concerns its directions, until it is removed."""
    wire = Wire(random.Random(1))
    delay = {"delay_ms": 50.0, "jitter_ms": 0.0, "loss": 0.0, "reorder": 0.0}
    wire.tell({"add": 1, "pairs": [["a", "b"]], **delay})
    assert wire.delay_s("a", "b") == 0.05
    assert wire.delay_s("b", "a") == 0.0
    wire.tell({"add": 2, "pairs": [["a", "b"]], **delay, "jitter_ms": 20.0, "reorder": 0.5})
    seen = {wire.delay_s("a", "b") for _ in range(200)}
    assert 0.05 in seen
    assert len(seen) > 50
    assert all(one is not None and 0.05 <= one <= 0.12 for one in seen)
    wire.tell({"add": 3, "pairs": [["a", "b"]], **delay, "loss": 1.0})
    assert wire.delay_s("a", "b") is None
    for number in (1, 2, 3):
        wire.tell({"remove": number})
    assert wire.delay_s("a", "b") == 0.0


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", (200, b"{}")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
    ],
)
def test_an_answer_is_whole_when_its_head_says_so(
    received: bytes, answer: tuple[int, bytes] | None
) -> None:
    """Status and body, once all of the body is there."""
    assert whole_answer(received) == answer
