"""How messages between processes are packed and read: MessagePack arrays, each member checked."""

import sys
from collections.abc import Callable
from typing import Annotated, Final, TypeVar

import msgspec

from hedgerow.common.errors import WireError
from hedgerow.common.wire.formats import HINT, is_newer

VERSION = 1
MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # the setting limits.max_message_bytes narrows it

T = TypeVar("T")
Count = Annotated[int, msgspec.Meta(ge=0)]
# Neither infinite nor NaN, which cannot be ordered.
Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]

encode = msgspec.msgpack.Encoder().encode
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode_any = msgspec.msgpack.Decoder().decode


class Array(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A type that is sent as an array of its members, each checked when it is read.

    Members after those that are known are a newer process's, and are ignored.
    """


def read(decode: Callable[[bytes], T], data: bytes) -> T:
    """Decode a part of a message.

    Raises:
        WireError: it is malformed.
    """
    try:
        return decode(data)
    except UNREADABLE as error:
        raise WireError(f"malformed: {error}") from error


def read_message(decode: Callable[[bytes], T], data: bytes, max_bytes: int) -> T:
    """Decode a message, which begins with a version.

    Raises:
        WireError: it is malformed, over `max_bytes`, or malformed since its version is unknown.
    """
    if len(data) > max_bytes:
        raise WireError(f"a message of {len(data)} bytes is over the limit of {max_bytes}")
    try:
        return decode(data)
    except UNREADABLE as error:
        # If the version is unknown, say that instead of how the message differs.
        parts = read(_decode_any, data)
        if isinstance(parts, list) and parts:
            check_version(parts[0])
        raise WireError(f"malformed: {error}") from error


def check_version(version: object) -> None:
    """Refuse a version that this process does not speak.

    Raises:
        WireError: it is another version.
    """
    if version == VERSION:
        return
    hint = f": {HINT}" if is_newer(version, VERSION) else ""
    raise WireError(f"version {version!r} is unknown; this process speaks {VERSION}{hint}")
