"""How often a worker has taken up a shard, as a part of the generation that searches ask for.

A worker may let go of a shard and take it up again, with other files in the same place. A scorer
that still has the files from before must not search them, though their generation may be greater.
So what searches ask for is the generation of the index, plus `OPENING` for each time that the
worker has taken up the shard before.
"""

from typing import Final

_BITS: Final = 54  # of a generation: it begins at the time in µs when the index was made
OPENING: Final = 1 << _BITS
_NUM_OPENINGS: Final = 1 << 9  # then the number begins again, so that the sum has 63 bits


def first_generation(num_before: int) -> int:
    """What the generations of a shard begin at that was taken up `num_before` times before."""
    return num_before % _NUM_OPENINGS * OPENING


def split(generation: int) -> tuple[int, int]:
    """The number of the opening, and the generation of the index."""
    return generation >> _BITS, generation & (OPENING - 1)
