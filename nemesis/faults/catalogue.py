"""Every kind of fault, by its card."""

from typing import Final

from nemesis.faults import failovers, machine, moves, network, processes, reindexes
from nemesis.faults.injection import Inject
from nemesis.schedule import Card

# Splits belong here once the product has them.
FAULTS: Final[dict[Card, Inject]] = {
    **processes.FAULTS,
    **network.FAULTS,
    **machine.FAULTS,
    **moves.FAULTS,
    **failovers.FAULTS,
    **reindexes.FAULTS,
}
INJECT: Final = {card.kind: inject for card, inject in FAULTS.items()}
