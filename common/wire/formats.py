"""Says that something stored or sent is of a format that this version does not read."""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from hedgerow.common.errors import NewerVersionError, WireError

T = TypeVar("T")

HINT: Final = "upgrade this process first (docs/upgrading.md)"


def other_format(what: str, found: object, known: object) -> str:
    """Say which format was found, which is read, and what to upgrade if the found one is newer.

    Args:
        what: what has the format, as in "the placement".
        found: the number of its format.
        known: the newest number that this version reads.
    """
    text = f"{what} has format {found}; this version of Hedgerow reads format {known}"
    return f"{text}: {HINT}" if is_newer(found, known) else text


def is_newer(found: object, known: object) -> bool:
    """Whether a format is newer than the newest that is read; False if it is not a number."""
    return str(found).isdecimal() and int(str(found)) > int(str(known))


class _Format(msgspec.Struct):
    format: int = 0


_decode_format = msgspec.json.Decoder(_Format).decode


def read_document(what: str, data: bytes, known: int, decode: Callable[[bytes], T]) -> T:
    """Read a JSON document, which a newer version of Hedgerow may have written.

    Args:
        what: what it is, as in "placement".
        data: the JSON.
        known: the newest number of its member `format` that this version reads.
        decode: reads it.

    Raises:
        NewerVersionError: it has a form that this version does not know.
        WireError: it is malformed.
    """
    try:
        found = _decode_format(data).format
        if is_newer(found, known):
            raise NewerVersionError(other_format(f"the {what}", found, known))
        return decode(data)
    except msgspec.DecodeError as error:
        raise WireError(f"a malformed {what}: {error}") from error
