"""Which faults come when: a pure function of the seed and of the cards.

The faults are drawn like cards from a shuffled deck, which is shuffled again when it is used up, so
each kind comes about equally often. Kinds that come seldom are not in the deck: each has a chance
of its own in every round, beside the faults of the deck; some of them are done to another fault,
and come only with it. What a machine cannot do is drawn as well, and left out afterwards: a seed
means the same faults on every machine.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

LONGEST_S: Final = 12.0
SHORTEST_S: Final = 2.0
_SPREAD_S: Final = 4.0  # within which the faults of a round begin
# Faults in a round, and how likely each number is.
_NUMBERS: Final = (1, 2, 3)
_LIKELY: Final = (0.4, 0.35, 0.25)


@dataclass(frozen=True, slots=True)
class Card:
    """A kind of fault.

    Attributes:
        kind: its name.
        says: what is done, as a sentence of the report.
        targets: to what it may be done.
        needs: what the machine must be able to do (`abilities`); empty for nothing special.
        lasts: whether it has a duration; otherwise it happens at once.
        seldom: in which share of the rounds it comes; 0 if it is in the deck.
        beside: the kind that it comes with, which is listed before; `seldom` is then a share of the
            rounds with that one. Empty if it comes by itself.
    """

    kind: str
    says: str
    targets: tuple[str, ...]
    needs: frozenset[str] = frozenset()
    lasts: bool = True
    seldom: float = 0.0
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault in the schedule.

    Attributes:
        at_s: when it begins, in s after the round has begun.
        for_s: how long it lasts; 0 if it happens at once.
        strength: from 0 to 1; what it means is up to the kind.
    """

    kind: str
    target: str
    at_s: float
    for_s: float
    strength: float


@dataclass(frozen=True, slots=True)
class Round:
    """Faults alone or together, after which the cluster has time to recover."""

    number: int
    faults: tuple[Fault, ...]

    @property
    def lasts_s(self) -> float:
        """When its last fault has ended, in s after it has begun."""
        return max(fault.at_s + fault.for_s for fault in self.faults)


def rounds(seed: int, cards: Sequence[Card]) -> Iterator[Round]:
    """The rounds of a seed, without end."""
    chance = random.Random(seed)
    drawn = _draw(chance, [card for card in cards if not card.seldom])
    # Draws of their own, so that such a card changes nothing else of what a seed means.
    seldom = {card: random.Random(f"{seed} {card.kind}") for card in cards if card.seldom}
    number = 0
    while True:
        number += 1
        (size,) = chance.choices(_NUMBERS, _LIKELY)
        faults = [_fault(chance, next(drawn), is_first=index == 0) for index in range(size)]
        for card, own in seldom.items():
            can_come = not card.beside or card.beside in {fault.kind for fault in faults}
            if can_come and own.random() < card.seldom:
                faults.append(_fault(own, card, is_first=False))
        yield Round(number, tuple(sorted(faults, key=lambda fault: fault.at_s)))


def _draw(chance: random.Random, cards: Sequence[Card]) -> Iterator[Card]:
    while True:
        deck = list(cards)
        chance.shuffle(deck)
        yield from deck


def _fault(chance: random.Random, card: Card, *, is_first: bool) -> Fault:
    # Each figure is drawn, needed or not, so that one kind's needs do not move the others.
    target = chance.choice(card.targets)
    at_s = round(chance.uniform(0.0, _SPREAD_S), 1)
    for_s = round(chance.uniform(SHORTEST_S, LONGEST_S), 1)
    strength = round(chance.random(), 2)
    return Fault(
        kind=card.kind,
        target=target,
        at_s=0.0 if is_first else at_s,
        for_s=for_s if card.lasts else 0.0,
        strength=strength,
    )
