"""What a query tells the lab's rank profiles to do: a time for each shard, as its text.

`"ms 50 100"` asks a cluster of two shards: 50 ms of the first, 100 of the second. With one number
all shards take as long; the number of shards then need not be known.
"""

from collections.abc import Sequence

from hedgerow.common.partition import shard_of


def script(times_ms: Sequence[float]) -> str:
    """The text of a query by which each shard takes its time."""
    return " ".join(["ms", *(f"{one:g}" for one in times_ms)])


def read(text: str, document_id: str) -> tuple[int, float]:
    """What a shard is told.

    Args:
        text: of the query.
        document_id: of any of the shard's documents, which tells whose it is.

    Returns:
        The shard's number, and the time that it is to take, in s.
    """
    times_ms = [float(word) for word in text.split()[1:]]
    shard = shard_of(document_id, len(times_ms))
    return shard, times_ms[shard] / 1000
