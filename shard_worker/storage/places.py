"""How a text index stores the places of its documents in `bodies`: in a fast field of tantivy.

Places grow with the documents. tantivy stores such numbers as pieces of straight lines, and to read
one of them it first reads all pieces of the field: 5 µs for 160,000 documents, and the more
documents, the more. Numbers without any order are stored side by side, and can be read alone: 0.8
µs for any number of documents. So offsets are multiplied by an odd number, which can be undone. A
document then takes 3.6 bytes more.
"""

from collections.abc import Container, Sequence
from typing import Final, NamedTuple

from hedgerow.shard_worker.storage.bodies import OFFSET_BITS

SPREAD_PLACE: Final = "_spread_place"
_PLACE: Final = "_place"  # of indexes that an earlier version made, in order

_OFFSETS: Final = (1 << OFFSET_BITS) - 1
_FILES: Final = ((1 << 64) - 1) ^ _OFFSETS
_FACTOR: Final = 0x9E3779B97F4A7C15 & _OFFSETS  # the golden ratio's digits, which have no pattern
_INVERSE: Final = pow(_FACTOR, -1, 1 << OFFSET_BITS)


class PlaceField(NamedTuple):
    """The field of an index that has the places.

    Attributes:
        name: the field's.
        is_spread: whether its numbers are without order.
    """

    name: str
    is_spread: bool

    def stored(self, place: int) -> int:
        """The number that is stored for a place."""
        return spread(place) if self.is_spread else place

    def places(self, stored: Sequence[int | None]) -> Sequence[int | None]:
        """The places for which these numbers are stored; None for a document that has none."""
        if not self.is_spread:
            return stored
        return [None if one is None else gathered(one) for one in stored]


def place_field(fields: Container[str]) -> PlaceField | None:
    """The field of an index with these fields; None if an earlier version made it without."""
    if SPREAD_PLACE in fields:
        return PlaceField(SPREAD_PLACE, is_spread=True)
    return PlaceField(_PLACE, is_spread=False) if _PLACE in fields else None


def spread(place: int) -> int:
    """A number for a place, such that those of places in order are without order."""
    return place & _FILES | (place & _OFFSETS) * _FACTOR & _OFFSETS


def gathered(number: int) -> int:
    """The place that `spread` made the number of."""
    return number & _FILES | (number & _OFFSETS) * _INVERSE & _OFFSETS
