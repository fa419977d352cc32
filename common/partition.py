"""Which shard owns a document."""

from hashlib import blake2b


def shard_of(document_id: str, num_shards: int) -> int:
    """The shard that owns a document: a stable hash of its id, the same in every process for ever.

    Args:
        document_id: the document's id.
        num_shards: shards in the cluster; fixed when the cluster is made.

    Returns:
        A shard number in `range(num_shards)`.
    """
    digest = blake2b(document_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % num_shards
