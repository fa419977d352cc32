"""The script in the text of a query, which gives the lab's rank profiles a time for each shard.

In a cluster of two shards, `"ms 50 100"` takes 50 ms in the first and 100 ms in the second. A
single number applies to all shards, however many there are.
"""

from collections.abc import Sequence

from hedgerow.common.partition import shard_of


def script(times_ms: Sequence[float]) -> str:
    """The text of a query that gives each shard its time."""
    return " ".join(["ms", *(f"{one:g}" for one in times_ms)])


def read(text: str, document_id: str) -> tuple[int, float]:
    """Read what a shard is to do.

    Args:
        text: of the query.
        document_id: of any document of the shard, which determines its number.

    Returns:
        The shard's number, and its time in s.
    """
    times_ms = [float(word) for word in text.split()[1:]]
    shard = shard_of(document_id, len(times_ms))
    return shard, times_ms[shard] / 1000
