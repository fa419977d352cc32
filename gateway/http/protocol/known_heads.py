"""Heads of requests that were read lately, by their bytes.

A client's requests have the same head again and again, but for the length of the body. To find a
head here costs a fraction of parsing it, which is half of the time that reading a search takes.
"""

from typing import Final

from hedgerow.gateway.http.protocol.request_head import RequestHead

MAX_HEADS: Final = 256
MAX_HEAD_BYTES: Final = 1024
# After others, the connection closes or speaks another protocol.
_VERSION: Final = "1.1"


class KnownHeads:
    """The latest heads of a server, each with the length of its body.

    Attributes:
        get: returns what is known of a head with exactly these bytes, or None.
    """

    __slots__ = ("_heads", "get")

    def __init__(self) -> None:
        """Know none."""
        self._heads: dict[bytes, tuple[RequestHead, int]] = {}
        self.get = self._heads.get

    def add(self, raw: bytes, head: RequestHead, num_bytes: int | None) -> None:
        """Remember a head whose bytes are `raw`, if its request can be cut by them alone.

        Args:
            raw: from the end of the request before it up to its own empty line.
            head: as the parser has read it.
            num_bytes: the length of its body; None if it is chunked.
        """
        if num_bytes is None or not head.keeps_alive or head.version != _VERSION:
            return
        if head.is_upgrade or len(raw) > MAX_HEAD_BYTES:
            return
        heads = self._heads
        if len(heads) >= MAX_HEADS and raw not in heads:
            del heads[next(iter(heads))]  # the oldest
        heads[raw] = head, num_bytes
