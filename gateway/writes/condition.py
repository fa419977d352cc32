"""The condition of a write: which version its document must have when its turn comes."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Final

from hedgerow.common.errors import BadRequestError
from hedgerow.common.shard_log.document_version import ABSENT
from hedgerow.common.shard_log.operations import Write, pack_op

NONE: Final = "none"  # how a caller names the version of a document that does not exist
MAX_REQUEST_ID_CHARS: Final = 100
_VERSION: Final = re.compile(r"[A-Za-z0-9_-]{16}\Z")


@dataclass(frozen=True)
class Condition:
    """A condition, and the token of the write that has it.

    Attributes:
        expected: the version that the document must have; `ABSENT` if it must not exist.
        token: of several writes with the same token, the first decides for all.
    """

    expected: str
    token: str

    def pack(self, uid: str, document_id: str, body: bytes | None) -> bytes:
        """Encode a write with this condition as an operation of the log; no body removes."""
        return pack_op(Write(uid, document_id, body, self.expected, self.token))


def is_version(text: str) -> bool:
    """Whether a text can be the version of a document."""
    return _VERSION.match(text) is not None


def expected_version(if_version: str) -> str:
    """The version that a caller expects.

    Raises:
        BadRequestError: it cannot be a version.
    """
    if if_version == NONE:
        return ABSENT
    if not is_version(if_version):
        raise BadRequestError(
            "if_version", f"should be a version as a read or a write returns it, or {NONE!r}"
        )
    return if_version


def new_token() -> str:
    """A token that no other write has."""
    return secrets.token_hex(8)


def token_of(request_id: str, *what: str | bytes | None) -> str:
    """The token of a request that its caller may repeat.

    Args:
        request_id: the caller's.
        what: what it asks for; a request for something else has another token.

    Raises:
        BadRequestError: the id is empty or too long.
    """
    if not 1 <= len(request_id) <= MAX_REQUEST_ID_CHARS:
        raise BadRequestError("request_id", f"should have 1 to {MAX_REQUEST_ID_CHARS} characters")
    hashed = hashlib.blake2b(digest_size=16)
    for part in (request_id, *what):
        data = part.encode() if isinstance(part, str) else part
        # With the length, so that no two lists of parts are the same bytes.
        hashed.update(b"-" if data is None else b"%d:%b" % (len(data), data))
    return hashed.hexdigest()
