"""The ids that a document may have, in loads, URLs, the client and `gateway index`.

An id is part of URLs, log lines and terminal output. It cannot contain characters that end a line,
control a device, or have no form in UTF-8. Everything else is allowed: slashes, spaces, quotes, any
script. "." and ".." are refused, since URL libraries resolve them as steps of a path, even if they
are percent-encoded (https://url.spec.whatwg.org/#double-dot-path-segment).
"""

import re
from collections.abc import Mapping
from typing import Any

from hedgerow.common.errors import BadRequestError, TooLargeError

ID_FIELD = "id"
MAX_ID_BYTES = 512  # the setting limits.max_id_bytes narrows it

_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF)
)
# C0, DEL and C1 controls, the line and paragraph separators, halves of surrogate pairs, and
# Unicode's noncharacters.
_find_unusable = re.compile(f"[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_NONCHARACTERS}]").search


def unusable_character(text: str) -> str | None:
    """The first character that no id, name or address may have, as "U+000A"; None without any."""
    found = _find_unusable(text)
    return found and f"U+{ord(found[0]):04X}"


def check_id(value: object, field: str = ID_FIELD, max_bytes: int = MAX_ID_BYTES) -> str:
    """Return an id as it is stored; a whole number counts as its decimal digits.

    Args:
        value: the id in a document or an address.
        field: its name, for the error.
        max_bytes: the limit on its length in UTF-8.

    Raises:
        BadRequestError: there is none, or it cannot be an id.
        TooLargeError: it has more than `max_bytes` bytes of UTF-8.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None:
        raise BadRequestError(field, "is missing; every document needs an id")
    if not isinstance(value, str) or not value:
        raise BadRequestError(field, "should be a string of at least one character")
    if len(value) > max_bytes:  # before its characters are checked
        raise TooLargeError(field, f"has more than {max_bytes} bytes, which is the limit")
    unusable = unusable_character(value)
    if unusable is not None:
        raise BadRequestError(
            field,
            f"contains the character {unusable}; control characters, line separators, "
            "surrogates and noncharacters are not allowed",
        )
    if value in (".", ".."):
        raise BadRequestError(field, f'is "{value}", which URLs use as a step in a path')
    size = len(value.encode())
    if size > max_bytes:
        raise TooLargeError(field, f"has {size} bytes; the limit is {max_bytes}")
    return value


def document_id(
    document: Mapping[str, Any], id_field: str = ID_FIELD, max_bytes: int = MAX_ID_BYTES
) -> str:
    """The id of a document, as `check_id` reads it."""
    return check_id(document.get(id_field), id_field, max_bytes)


def check_address_id(document_id: str, max_bytes: int) -> None:
    """Refuse an id in an address that no document can have.

    Raises:
        BadRequestError: it cannot be an id. An address that is too long is answered with 400, a
            body that is too large with 413.
    """
    try:
        check_id(document_id, max_bytes=max_bytes)
    except TooLargeError as error:
        raise BadRequestError(error.field, error.reason) from error
