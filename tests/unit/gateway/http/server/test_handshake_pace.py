"""The pace of TLS handshakes: a share of the time, and addresses in turn."""

import pytest

from hedgerow.gateway.http.server.handshake_pace import HandshakeBudget, Turns


def num_made(share: float, took_s: float, seconds: float) -> int:
    """How many handshakes are made in some seconds, one after the other as soon as each may be."""
    budget, now, made = HandshakeBudget(share), 100.0, 0
    while now < 100.0 + seconds:
        if (wait_s := budget.wait_s(now)) > 0:
            now += wait_s
            continue
        now += took_s
        budget.spend(took_s, now)
        made += 1
    return made


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("took_s", [0.0003, 0.002, 0.02])
def test_handshakes_take_no_more_than_their_share(share: float, took_s: float) -> None:
    """However long each takes: in ten seconds, within the share, the savings and one handshake."""
    spent_s = num_made(share, took_s, 10.0) * took_s
    assert spent_s == pytest.approx(10.0 * share, abs=0.01 + 2 * took_s)


def test_a_few_handshakes_need_not_wait() -> None:
    """After a quiet time, several are made at once; time that was not used adds up to no more."""
    budget = HandshakeBudget(0.25)
    budget.spend(1.0, 0.0)
    made = 0
    while budget.wait_s(1000.0) == 0:
        budget.spend(0.001, 1000.0)
        made += 1
    assert 5 <= made <= 15


def test_addresses_take_turns_and_each_keeps_its_order() -> None:
    """The second address, which comes last, has the second turn."""
    turns: Turns[str] = Turns()
    for peer, waiting in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("b", "b2")):
        turns.add(peer, waiting)
    taken = []
    while turns:
        taken.append(turns.take())
    assert taken == ["a1", "b1", "a2", "b2", "a3"]


def test_what_is_discarded_takes_no_turn() -> None:
    """It may have had its turn already, or never have waited."""
    turns: Turns[str] = Turns()
    turns.add("a", "a1")
    turns.add("a", "a2")
    turns.discard("a", "a1")
    turns.discard("a", "a1")
    turns.discard("c", "c1")
    assert turns.take() == "a2"
    turns.discard("a", "a2")
    assert not turns
