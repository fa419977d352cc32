"""The version of a document: a hash of its JSON, as it is stored.

So every replica has the same version without storing one, and a document that gets its former
content again has its former version again. A writer that has read a version and names it as a
condition knows that the document is as it was when it was read.
"""

import hashlib
from base64 import urlsafe_b64encode
from typing import Final

ABSENT: Final = ""  # the version of a document that does not exist
_BYTES: Final = 12  # makes 16 characters, without padding


def version_of(body: bytes | None) -> str:
    """The version of a document as it is stored; `ABSENT` for none."""
    if body is None:
        return ABSENT
    return urlsafe_b64encode(hashlib.blake2b(body, digest_size=_BYTES).digest()).decode()
