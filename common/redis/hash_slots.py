"""The hash slots of Redis Cluster: which one a key is in, and tags that spread keys over the nodes.

https://valkey.io/topics/cluster-spec/ has the rules. All keys of one command must be in one slot,
so everything that belongs to a shard is spelled with a tag, which alone decides the slot.
"""

from binascii import crc_hqx
from functools import lru_cache
from itertools import count
from typing import Final

NUM_HASH_SLOTS: Final = 16384


def hash_slot(key: str | bytes) -> int:
    """The slot of a key: CRC16 (XMODEM) of its tag, or of all of it if it has none."""
    encoded = key.encode() if isinstance(key, str) else key
    start = encoded.find(b"{")
    if start >= 0:
        end = encoded.find(b"}", start + 1)
        if end > start + 1:  # an empty tag is none
            encoded = encoded[start + 1 : end]
    return crc_hqx(encoded, 0) % NUM_HASH_SLOTS


@lru_cache(maxsize=8)
def tags(number: int) -> tuple[str, ...]:
    """A number of tags whose slots are evenly spaced: the smallest numbers that are.

    A new cluster of N nodes gives each a range of 16384 / N slots. Tag `i` lies in the middle third
    of the range that node `i` of `number` nodes has, so that nodes have equally many, or, if their
    number does not divide that of the tags, nearly so.
    """
    width = NUM_HASH_SLOTS / number
    found = []
    for index in range(number):
        least, most = (index + 1 / 3) * width, (index + 2 / 3) * width
        found.append(next(str(n) for n in count() if least <= hash_slot(str(n)) < most))
    return tuple(found)
