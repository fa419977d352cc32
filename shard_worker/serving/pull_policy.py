"""What decides how much is pulled, from which end, and what of it is taken. No I/O."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from hedgerow.common.wire.pull_order import PullOrder

# While the newest are served first, a request at the far end of a queue that has spent less than
# `FRESH_SHARE` of its time is not the oldest: a gateway has put it ahead. At most `MAX_AHEAD` such
# requests are taken at once.
FRESH_SHARE = 0.5
MAX_AHEAD = 4


class Lane(Protocol):
    """What pulling needs of a pool of processes or threads."""

    def room(self) -> int:
        """How many more requests would start within a few milliseconds."""

    async def wait_for_room(self) -> int:
        """Wait until there is room; returns it."""

    def ends_soon(self) -> bool:
        """Whether it has tasks, and all of them are expected to end within 0.5 ms."""

    def cork(self) -> None:
        """Hold back what is submitted until `uncork`, so that it starts together."""

    def uncork(self) -> None:
        """Start what was held back."""


class PullPolicy(NamedTuple):
    """From which end of the queues to pull.

    Attributes:
        order: decides it.
        spent_share: returns what share of its time a packed request has spent at an instant of
            `time.monotonic()`, in s; 1 or more once it has expired.
    """

    order: PullOrder
    spent_share: Callable[[bytes, float], float]


# A packed request, and the shards whose queues it was pulled from.
Pulled = tuple[bytes, Sequence[int]]


def by_query(pops: Iterable[tuple[int, Sequence[bytes]]]) -> list[Pulled]:
    """The requests of several pops in order of arrival, those of one query next to each other.

    A query sends the same bytes to all of its shards. A scorer that gets the shards of a query
    together can compare what it has found on them (`scoring.local_merge`).

    Args:
        pops: the shard of each pop, and its requests in order of arrival.
    """
    shards: dict[bytes, list[int]] = {}
    for shard, messages in pops:
        for message in messages:
            if message in shards:
                shards[message].append(shard)
            else:
                shards[message] = [shard]
    return list(shards.items())


class Sifted(NamedTuple):
    """What becomes of a queue's oldest requests; `left` goes back to where it was."""

    expired: list[bytes]
    taken: list[bytes]
    left: list[bytes]


def sift(
    messages: list[bytes], room: int, share: Callable[[bytes, float], float], now: float
) -> Sifted:
    """Of a queue's oldest requests, take as many as there is room for that have not expired.

    Requests that a gateway has put ahead are found here and are taken in any case, since they are
    fresh.

    Args:
        messages: the requests, the oldest first.
        room: how many there is room for.
        share: as `PullPolicy.spent_share`.
        now: the time of `time.monotonic()`.
    """
    expired = [message for message in messages if share(message, now) >= 1]
    alive = [message for message in messages if share(message, now) < 1]
    num_ahead = 0
    while num_ahead < min(len(alive), MAX_AHEAD) and share(alive[num_ahead], now) < FRESH_SHARE:
        num_ahead += 1
    room = max(room, num_ahead)
    return Sifted(expired, alive[:room], alive[room:])
