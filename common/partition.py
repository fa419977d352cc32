"""Which shard owns a document, and how shards are named on a command line."""

from hashlib import blake2b

from hedgerow.common.errors import ConfigurationError


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
        ConfigurationError: it is not written like this, or names a shard twice.
    """
    shards: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigurationError(f"--shards: {part.strip()!r} is not a number or a range")
        shards.extend(range(int(first), int(last if dash else first) + 1))
    if len(set(shards)) != len(shards) or not shards:
        raise ConfigurationError(f"--shards: {text!r} names a shard twice, or none")
    return tuple(shards)
