"""The schedule, and the files and helpers around it that need no cluster."""

import random
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemesis.cluster.packets import Wire
from nemesis.faults.catalogue import NODE_FAULTS, cards
from nemesis.history import Note, Recorder, read_history
from nemesis.load.exchange import whole_answer
from nemesis.schedule import LONGEST_S, SHORTEST_S, Card, rounds
from tests.unit.nemesis.made_up import group_search, state, write

CARDS = cards(0)
OF_BOTH = pytest.mark.parametrize("kinds", [CARDS, cards(3)], ids=["one server", "nodes"])


@given(st.integers(0, 2**32), st.sampled_from([0, 3]))
def test_a_schedule_is_a_function_of_its_seed(seed: int, num_nodes: int) -> None:
    """The same seed gives the same rounds; faults are within the bounds of their kinds."""
    first, second = (list(islice(rounds(seed, cards(num_nodes)), 40)) for _ in range(2))
    assert first == second
    kinds = {card.kind: card for card in cards(num_nodes)}
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


@OF_BOTH
def test_each_kind_comes_about_equally_often(kinds: list[Card]) -> None:
    """As from a deck that is used up before it is shuffled again; some come seldom."""
    planned = list(islice(rounds(3, kinds), 1000))
    counts = Counter(fault.kind for one in planned for fault in one.faults)
    among = {"": len(planned)} | counts  # of how many rounds a share is meant
    for card in kinds:
        if card.seldom:
            expected = among[card.beside] * card.seldom
            assert counts.pop(card.kind) == pytest.approx(expected, rel=0.3)
    assert set(counts) == {card.kind for card in kinds if not card.seldom}
    assert max(counts.values()) - min(counts.values()) <= 1


def test_seldom_faults_come_beside_the_others() -> None:
    """Without them, a seed means the same rounds."""
    often = [card for card in CARDS if not card.seldom]
    for whole, rest in zip(islice(rounds(3, CARDS), 50), rounds(3, often), strict=False):
        kinds = {card.kind for card in often}
        assert tuple(fault for fault in whole.faults if fault.kind in kinds) == rest.faults


@OF_BOTH
def test_what_is_done_to_a_fault_comes_only_with_it(kinds: list[Card]) -> None:
    """The worker that moves a split on is killed in rounds with a split, in some of them."""
    planned = list(islice(rounds(5, kinds), 300))
    done_to = {card.kind: card.beside for card in kinds if card.beside}
    assert done_to["kill the driver"] == "split the shards"
    for kind, beside in done_to.items():
        in_round = [{fault.kind for fault in one.faults} for one in planned]
        assert any(kind in names for names in in_round)
        assert any(beside in names and kind not in names for names in in_round)
        assert all(beside in names for names in in_round if kind in names)


def test_with_nodes_come_splits_moves_and_failures_of_nodes() -> None:
    """All that one server meets, and what only nodes do; one server meets none of that."""
    names = [
        {fault.kind for one in islice(rounds(1, cards(number)), 300) for fault in one.faults}
        for number in (0, 3)
    ]
    of_nodes = {card.kind for card in NODE_FAULTS}
    assert {"fail a node", "move a slot", "fail a node in a split"} < of_nodes
    assert names[1] - names[0] == of_nodes
    assert {"split the shards", "drain a worker", "kill a worker"} < names[0] & names[1]


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
