"""How much a reindex copies at a time, and of which shards. Pure.

    some documents of some shards ► every replica has applied them ► a rest ► the next

Indexing is what costs, so that the pace goes by how long it takes: a rest is in proportion. On a
slow or busy machine, copies are thus slower by themselves.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

TURN_S: Final = 0.25  # about; writes to the same shards wait for as long
FEWEST: Final = 250  # documents of a shard in a turn; with fewer, it would be a commit above all
MOST: Final = 2000
MOST_BYTES: Final = 1_000_000  # of a shard in a turn


class Pace:
    """How many documents to copy.

    Attributes:
        documents: of each shard, in the next turn.
    """

    def __init__(self) -> None:
        """Begin with few."""
        self.documents = 2 * FEWEST
        self._limits: dict[int, int] = {}

    def adapt(self, took_s: float) -> None:
        """A turn took so long: copy more in the next if it was short, fewer if it was long."""
        if took_s < TURN_S / 2:
            self.documents = min(2 * self.documents, MOST)
        elif took_s > TURN_S * 2:
            self.documents = max(self.documents // 2, FEWEST)

    def of(self, shard: int) -> int:
        """How many documents of one shard to copy."""
        return min(self.documents, self._limits.get(shard, MOST))

    def halve(self, shard: int) -> bool:
        """What was copied of a shard could not be applied: copy less.

        Returns:
            Whether there is less; if not, it was a single document.
        """
        last = self.of(shard)
        self._limits[shard] = max(1, last // 2)
        return last > 1


def one_per_host(shards: Iterable[int], hosts: Mapping[int, Collection[str]]) -> list[int]:
    """Shards to copy at once: none that has a replica on the host of another's.

    Args:
        shards: those to be copied, in order.
        hosts: shard → the hosts of its replicas.
    """
    chosen: list[int] = []
    used: set[str] = set()
    for shard in shards:
        own = set(hosts.get(shard, ()))
        if not own & used:
            chosen.append(shard)
            used |= own
    return chosen
