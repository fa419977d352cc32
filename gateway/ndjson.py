"""NDJSON: chunks to lines, a line to a document that every later stage can carry.

Source: https://github.com/ndjson/ndjson-spec (a JSON text per line; empty lines are passed over).
"""

import json
import re
from typing import Any, NamedTuple

from common.collection import document_id
from common.errors import BadRequestError, TooLargeError

MAX_DEPTH = 100
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OUTSIDE_COMPACT = re.compile(rb'": |, "')  # within a string the quote would follow a backslash


class Parsed(NamedTuple):
    """A document of one line: its id, itself, and its JSON in few bytes."""

    id: str
    document: dict[str, Any]
    body: bytes


class LineSplitter:
    """Cuts a stream of bytes into lines, in memory for one line."""

    def __init__(self, max_line_bytes: int) -> None:
        """Lines over `max_line_bytes` are told apart, and not kept."""
        self._max_bytes = max_line_bytes
        self._line = 0
        self._rest = b""
        self._is_overlong = False  # the line that is under way has passed the limit

    def feed(self, chunk: bytes) -> list[tuple[int, bytes | None]]:
        """Take in a chunk.

        Returns:
            The lines that it completes, numbered from 1; None for one over the limit.
        """
        first, *others = chunk.split(b"\n")
        self._extend(first)
        if not others:
            return []
        lines: list[tuple[int, bytes | None]] = [self._end()]
        rest = others.pop()
        number = self._line
        for line in others:
            number += 1
            lines.append((number, line if len(line) <= self._max_bytes else None))
        self._line = number
        self._extend(rest)
        return lines

    def end(self) -> list[tuple[int, bytes | None]]:
        """The stream has ended; a last line without a newline is a line too."""
        return [self._end()] if self._rest or self._is_overlong else []

    def _extend(self, part: bytes) -> None:
        if self._is_overlong:
            return
        if len(self._rest) + len(part) > self._max_bytes:
            self._rest, self._is_overlong = b"", True
        else:
            self._rest += part

    def _end(self) -> tuple[int, bytes | None]:
        line = None if self._is_overlong else self._rest
        if self._line == 0 and line is not None:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        self._rest, self._is_overlong = b"", False
        self._line += 1
        return self._line, line


def parse_document(line: bytes, max_id_bytes: int, max_document_bytes: int) -> Parsed:
    """Read one document; an id that is a whole number becomes the text of its digits.

    What JSON can say and MessagePack, UTF-8 or a JSON response cannot is refused here, so that
    whatever is accepted can be fetched again: NaN and infinities, integers over 64 bits, halves of
    surrogate pairs, nesting over `MAX_DEPTH`.

    Raises:
        BadRequestError: names the field (or the line) and the reason.
        TooLargeError: the document or its id is over its limit.
    """
    document = _decode(line)
    has_number = type(document.get("id")) is int  # and not a bool
    if has_number:
        document["id"] = str(document["id"])
    body = line.strip()
    if has_number or _OUTSIDE_COMPACT.search(body) or b"\\u" in body:
        try:
            body = _ENCODER.encode(document).encode()
        except UnicodeEncodeError as error:
            raise BadRequestError("the document", "has half of a surrogate pair") from error
    if len(body) > max_document_bytes:
        raise TooLargeError(
            "the document", f"has {len(body)} bytes; the limit is {max_document_bytes}"
        )
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and not _is_within(document, MAX_DEPTH):
        raise BadRequestError("the document", f"is nested over {MAX_DEPTH} deep")
    return Parsed(document_id(document, max_bytes=max_id_bytes), document, body)


def _decode(line: bytes) -> dict[str, Any]:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("the line", f"is not UTF-8: {error.reason}", error.start) from error
    try:
        document: Any = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        reason = f"is not JSON: {error.msg} at character {error.pos + 1}"
        raise BadRequestError("the line", reason, error.pos) from error
    except RecursionError as error:
        raise BadRequestError("the document", f"is nested over {MAX_DEPTH} deep") from error
    except ValueError as error:
        raise BadRequestError("the document", f"has {error}") from error
    if type(document) is not dict:
        raise BadRequestError("the line", "is not a JSON object")
    return document


def _is_within(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return True
    return depth > 0 and all(_is_within(item, depth - 1) for item in value)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name}, which is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0.0:
        raise ValueError(f"the number {text[:40]}, which no float can hold")
    return value


def _within_64_bits(text: str) -> int:
    # Twenty characters hold every integer of 64 bits; int() itself refuses what is very long.
    value = int(text) if len(text) <= 20 else 2**64
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"the integer {text[:40]}, which has over 64 bits")
    return value


_DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, parse_int=_within_64_bits
)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
