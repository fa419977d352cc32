"""Which shard owns a document, and how shards are named on a command line."""

from hashlib import blake2b
from typing import Final

from hedgerow.common.errors import ConfigurationError

MAX_SHARDS: Final = 10_000
MAX_DIGITS: Final = 9  # of a shard's number on a command line


def shard_of(document_id: str, num_shards: int) -> int:
    """The shard that owns a document: a stable hash of its id, the same in every process for ever.

    Args:
        document_id: the document's id.
        num_shards: shards in the cluster; fixed when the cluster is created.

    Returns:
        A shard number in `range(num_shards)`.
    """
    digest = blake2b(document_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % num_shards


def parse_shards(text: str) -> tuple[int, ...]:
    """Read `0,1` or `0-3,6`.

    Raises:
        ConfigurationError: it is not written like this, or names a shard twice, or one that no
            cluster has.
    """
    shards: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigurationError(f"--shards: {part.strip()!r} is not a number or a range")
        named = last if dash else first
        if max(len(first), len(named)) > MAX_DIGITS or int(named) >= MAX_SHARDS:
            raise ConfigurationError(
                f"--shards: {part.strip()[:40]!r}: the last shard that there can be is "
                f"{MAX_SHARDS - 1}"
            )
        shards.extend(range(int(first), int(named) + 1))
    if len(set(shards)) != len(shards) or not shards:
        raise ConfigurationError(f"--shards: {text!r} names a shard twice, or none")
    return tuple(shards)
