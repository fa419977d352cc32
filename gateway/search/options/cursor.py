"""Cursors of `search_after`: where a page ended, signed, so that a gateway trusts only its own.

A cursor holds the last hit's place in the order, not a position: documents that come and go
meanwhile move no other from one page to the next. It also holds whether the pages up to here leave
something out: then no later page can promise that nothing is missing.

Source: https://www.rfc-editor.org/rfc/rfc2104 (HMAC), with SHA-256, cut to 128 bits.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import Final
from zlib import crc32

import msgspec

from hedgerow.common.errors import BadRequestError
from hedgerow.common.wire.search_options import Value

# Part of the signed message, so that signatures with this key for other purposes are invalid.
_PURPOSE: Final = b"hedgerow search cursor 1"
_MAC_BYTES: Final = 16
MAX_CHARS: Final = 60_000  # of a cursor: its values are keywords of a document

_FOREIGN: Final = "is not a cursor of this cluster"


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended.

    Attributes:
        search: fingerprint of the search: collection, query, filter, order.
        values: of the last hit, for each sort key; its score without any.
        id: the last hit's id.
        num_before: hits up to there.
        ranking: fingerprint of what the scores depend on in all shards; 0 if it is not known.
        is_partial: whether a page up to here does not reflect all shards.
        has_changed: whether scores have changed between the pages up to here.
    """

    search: bytes
    values: tuple[Value, ...]
    id: str
    num_before: int
    ranking: int
    is_partial: bool
    has_changed: bool


class CursorSigner:
    """Writes and reads the cursors of one cluster."""

    def __init__(self, key: bytes) -> None:
        """Sign with the key that the cluster's gateways share."""
        self._key = key
        self._decode = msgspec.msgpack.Decoder(Cursor).decode

    def sign(self, cursor: Cursor) -> str:
        """The cursor as text, safe in URLs."""
        packed = msgspec.msgpack.encode(cursor)
        return urlsafe_b64encode(self._mac(packed) + packed).decode().rstrip("=")

    def read(self, text: str) -> Cursor:
        """Read a cursor.

        Raises:
            BadRequestError: it was not signed with this key, or was changed.
        """
        if len(text) > MAX_CHARS:
            raise BadRequestError("search_after", _FOREIGN)
        try:
            data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (Base64Error, ValueError) as error:
            raise BadRequestError("search_after", _FOREIGN) from error
        mac, packed = data[:_MAC_BYTES], data[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(packed)):
            raise BadRequestError("search_after", _FOREIGN)
        try:
            return self._decode(packed)
        except msgspec.DecodeError as error:  # of another version
            raise BadRequestError("search_after", _FOREIGN) from error

    def _mac(self, packed: bytes) -> bytes:
        return hmac.new(self._key, _PURPOSE + packed, hashlib.sha256).digest()[:_MAC_BYTES]


def fingerprint_of(*parts: object) -> bytes:
    """Identify a search by what decides which hits it has, and their order."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()


def ranking_of(by_shard: dict[int, str]) -> int:
    """Identify what the scores of all shards depend on."""
    return crc32(repr(sorted(by_shard.items())).encode()) or 1
