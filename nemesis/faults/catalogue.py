"""Every kind of fault, by its card."""

from typing import Final

from nemesis.faults import failovers, machine, moves, network, processes, reindexes, splits
from nemesis.faults.injection import Inject
from nemesis.schedule import Card

FAULTS: Final[dict[Card, Inject]] = {
    **processes.FAULTS,
    **network.FAULTS,
    **machine.FAULTS,
    **moves.FAULTS,
    **failovers.FAULTS,
    **reindexes.FAULTS,
    **splits.FAULTS,
}
INJECT: Final = {card.kind: inject for card, inject in FAULTS.items()}
