"""The parts of an answer's head that the application does not supply."""

import re
import time
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES: Final = {status: _status_line(status) for status in range(100, 600)}
CLOSE: Final = b"connection: close\r\n"
CHUNKED: Final = b"transfer-encoding: chunked\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_is_name = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # RFC 9110, 5.6.2
_is_not_in_values = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search


class DateLine:
    """The field Date, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def __call__(self) -> bytes:
        """Return the field for an answer that is sent now."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._line


def lower_fields(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return an application's header fields, with names in lower case.

    Raises:
        ValueError: a name or value could be interpreted as something other than a field.
    """
    fields = []
    for name, value in headers:
        if _is_name(name) is None:
            raise ValueError(f"{name!r} is not the name of a header field")
        if _is_not_in_values(value) is not None:
            raise ValueError(f"header field {name.decode()} has a control character")
        fields.append((name.lower(), value))
    return fields
