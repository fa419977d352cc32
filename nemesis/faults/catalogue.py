"""Every kind of fault, by its card."""

from collections.abc import Sequence
from typing import Final

from nemesis.faults import (
    failovers,
    machine,
    moves,
    network,
    nodes,
    processes,
    reindexes,
    splits,
)
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
# Of a cluster with the nodes of a Redis Cluster, in addition.
NODE_FAULTS: Final[dict[Card, Inject]] = nodes.FAULTS
_ALL: Final = FAULTS | NODE_FAULTS
CARDS: Final = {card.kind: card for card in _ALL}
INJECT: Final = {card.kind: inject for card, inject in _ALL.items()}


def cards(num_nodes: int) -> Sequence[Card]:
    """The kinds of faults for a cluster with this number of Redis Cluster nodes."""
    return list(_ALL if num_nodes else FAULTS)
