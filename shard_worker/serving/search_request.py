"""A search as a worker reads it from its queue."""

import math
from functools import lru_cache
from typing import Final

from hedgerow.common.errors import WireError
from hedgerow.common.redis.server_clock import ServerClock
from hedgerow.common.state.quarantine import fingerprint_of
from hedgerow.common.wire.messages import (
    Kind,
    Request,
    SearchPayload,
    unpack_request,
    unpack_search_payload,
)

LABEL_CHARS = 80

# In Python 3.11, looking up an enum's member takes five times as long as a global.
_SEARCH: Final = Kind.SEARCH.value


class SearchRequest:
    """A request as read, and its identity in the process pool (`task.Identity`).

    Attributes:
        message: the packed request, as it was in the queue.
        request: the request.
        payload: None if it is malformed; `error` says why.
        error: None if it is well formed.
        allowed_ms: how long the search may take, in ms, if that is part of its fingerprint;
            otherwise 0.
    """

    __slots__ = ("_fingerprint", "allowed_ms", "error", "message", "payload", "request")

    def __init__(
        self,
        message: bytes,
        request: Request,
        payload: SearchPayload | None,
        error: WireError | None = None,
    ) -> None:
        """Take what was read."""
        self.message = message
        self.request = request
        self.payload = payload
        self.error = error
        self.allowed_ms = 0
        self._fingerprint = b""

    @property
    def fingerprint(self) -> bytes:
        """Equal for searches that the quarantine treats as one; computed when first read."""
        if not self._fingerprint:
            self._fingerprint = fingerprint_of(self.request.payload, self.allowed_ms)
        return self._fingerprint

    @property
    def label(self) -> str:
        """The profile and the beginning of the query, for people to read."""
        payload = self.payload
        return "" if payload is None else f"{payload.profile}: {payload.query[:LABEL_CHARS]}"


# A query sends the same bytes to each shard, and a worker with several shards pulls them at once.
@lru_cache(maxsize=256)
def read_search(message: bytes, max_bytes: int) -> SearchRequest:
    """Read a packed search; one whose payload is malformed can still be answered.

    Raises:
        WireError: it is malformed, over `max_bytes`, or no search.
    """
    request = unpack_request(message, max_bytes)
    if request.kind != _SEARCH:
        raise WireError(f"kind {request.kind} does not belong in a search queue")
    try:
        return SearchRequest(message, request, unpack_search_payload(request.payload))
    except WireError as error:
        return SearchRequest(message, request, None, error)


def spent_share(clock: ServerClock, max_bytes: int, message: bytes, now: float) -> float:
    """What share of its time a packed search has spent, from being sent to its expiry.

    Args:
        clock: the server's.
        max_bytes: most bytes of a message.
        message: the packed search; a malformed one counts as new.
        now: an instant of `time.monotonic()`, in s.
    """
    try:
        request = read_search(message, max_bytes).request
    except WireError:
        return 0.0
    total_us = request.expires_at_ms * 1000 - request.sent_at_us
    spent_us = clock.server_us(now) - request.sent_at_us
    return spent_us / total_us if total_us > 0 else math.inf
