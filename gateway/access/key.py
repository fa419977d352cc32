"""A key: a secret that is shown once, and its entry in the key file.

Only its SHA-256 is stored. Passwords need a slow, salted hash, since they can be guessed; the
secret of a key is 256 random bits. NIST SP 800-63B, 5.1.2.2, requires salt and stretching below 112
bits of entropy, and only an approved hash function from there on.
"""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final

import msgspec

from hedgerow.gateway.access.caller import TOKEN_HOLDER, Caller, Right

# A prefix by which secret scanners find keys where they should not be.
PREFIX: Final = "hedgerow_"
NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,31}\Z"
RESERVED_NAMES: Final = frozenset({TOKEN_HOLDER.name})
_SECRET_BYTES: Final = 32


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key's entry in the file, under the same names.

    Attributes:
        name: its name, in lists and for revoking; also the second part of the key itself.
        sha256: the SHA-256 of the whole key, in hexadecimal.
        rights: its rights.
        created: when it was created.
        collections: the collections that it may use; None for all.
        rate_per_s: most requests a second on average; None for no limit.
        share: largest share of the admission limit in flight, 0 to 1; None for no limit.
        expires: when it expires; None for never.
    """

    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    rights: Annotated[tuple[Right, ...], msgspec.Meta(min_length=1)]
    created: Annotated[datetime, msgspec.Meta(tz=True)]
    collections: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    rate_per_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None

    def caller(self) -> Caller:
        """The caller that uses this key."""
        return Caller(
            self.name,
            frozenset(self.rights),
            None if self.collections is None else frozenset(self.collections),
            1.0 if self.share is None else self.share,
        )


def new_secret(name: str) -> str:
    """Make the text of a new key."""
    return f"{PREFIX}{name}_{secrets.token_hex(_SECRET_BYTES)}"


def hash_of(text: bytes) -> bytes:
    """Return the hash of a key's text, as bytes."""
    return hashlib.sha256(text).digest()


def name_in(text: bytes) -> str:
    """Return the name in a key's text; empty if it is not a key."""
    prefix, _, rest = text.partition(b"_")
    name, _, secret = rest.partition(b"_")
    return name.decode(errors="replace") if secret and prefix == b"hedgerow" else ""


def names_of(keys: Iterable[Key]) -> list[str]:
    """Return the names of keys."""
    return [key.name for key in keys]
