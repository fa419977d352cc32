"""Every kind of fault, by its card."""

from typing import Final

from nemesis.faults import machine, network, processes
from nemesis.faults.injection import Inject
from nemesis.schedule import Card

# Failovers, moves and splits belong here once the product has them.
FAULTS: Final[dict[Card, Inject]] = {**processes.FAULTS, **network.FAULTS, **machine.FAULTS}
INJECT: Final = {card.kind: inject for card, inject in FAULTS.items()}
