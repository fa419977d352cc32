"""The work that every peer does: a request of 200 bytes, and a reply of 10 ids and 10 scores."""

import itertools
from collections.abc import Iterable
from typing import Any

NUM_SHARDS = 8
_NUM_HITS = 10
_LENGTH = 200
_FILLER = "a query as long as this one is asked of every shard alike " * 4
_NUMBERS = itertools.count()

IDS = [[f"document-{shard}-{hit}" for hit in range(_NUM_HITS)] for shard in range(NUM_SHARDS)]
SCORES = [12.5 - hit / 7 for hit in range(_NUM_HITS)]


def next_query() -> str:
    """A query of 200 bytes that no other is like."""
    return f"{next(_NUMBERS)} {_FILLER}"[:_LENGTH]


def answer(shard: int, query: str) -> tuple[list[str], list[float]]:
    """What a shard replies to a query: its ids, and their scores.

    Raises:
        ValueError: the request did not come whole.
    """
    if len(query) != _LENGTH:
        raise ValueError(f"a request of {len(query)} bytes")
    return IDS[shard], SCORES


def check(replies: Iterable[Any]) -> None:
    """Be sure that there is a reply of each shard, in their order.

    Raises:
        RuntimeError: one is not what its shard has to say.
    """
    gathered = list(replies)
    if len(gathered) != NUM_SHARDS:
        raise RuntimeError(f"{len(gathered)} replies")
    for shard, (ids, scores) in enumerate(gathered):
        if list(ids) != IDS[shard] or len(scores) != _NUM_HITS:
            raise RuntimeError(f"shard {shard} replied {ids}")
