"""Turns a line of a bulk load into a valid document, in bounded time.

A document's bytes and values are counted before it is decoded, since the time of every later step
depends on them. The worst document that is accepted takes less than 5 ms on the event loop.
"""

import json
import math
from collections.abc import Generator
from typing import Any, NamedTuple

import msgpack
import msgspec
from pydantic_core import from_json

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import document_id
from hedgerow.common.documents.document_check import with_stored_vectors
from hedgerow.common.errors import BadRequestError, TooLargeError
from hedgerow.common.settings.limits import LimitSettings

MAX_DEPTH = 100

# The two infinities in MessagePack; other data rarely contains these bytes.
_INFINITIES = (b"\xcb\x7f\xf0\0\0\0\0\0\0", b"\xcb\xff\xf0\0\0\0\0\0\0")
_CONTAINERS = (dict, list)


class Parsed(NamedTuple):
    """The document of one line: its id, its members, and its compact JSON."""

    id: str
    document: dict[str, Any]
    body: bytes


def parse_document(line: bytes, limits: LimitSettings) -> Parsed:
    """Read one document; an id that is a whole number becomes the text of its digits.

    Values that MessagePack, UTF-8 or a JSON response cannot represent are refused here, so that
    every accepted document can be fetched again: NaN and infinities, integers over 64 bits, halves
    of surrogate pairs, nesting over `MAX_DEPTH`.

    Raises:
        BadRequestError: names the field (or the line) and the reason.
        TooLargeError: the document, its id or the number of its values exceeds its limit.
    """
    steps = parse_steps(line, limits)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            parsed: Parsed = end.value
            return parsed


def parse_steps(
    line: bytes, limits: LimitSettings, own_id: str | None = None
) -> Generator[None, None, Parsed]:
    """As `parse_document`, in steps of some milliseconds at most, for a line that is long.

    A document that `own_id` is given for may lack an `id`, and must not have another; its JSON is
    then on one line, whatever it was on before.
    """
    if _seems_over(line, limits.max_document_values):
        yield
        _check_values(line, limits.max_document_values)
    yield
    document = _decode(line)
    if document is None:
        yield
        document = _decode_with_reasons(line)
    yield
    has_number = type(document.get("id")) is int  # and not a bool
    if has_number:
        document["id"] = str(document["id"])
    if own_id is not None:
        document = {"id": own_id} | document
        if document["id"] != own_id:
            reason = f"is {document['id']!r} in the body and {own_id!r} in the address"
            raise BadRequestError("id", reason)
    body = line.strip()
    try:
        compact = _encode(document)
    except UnicodeEncodeError as error:
        raise BadRequestError("the document", "contains half of a surrogate pair") from error
    if has_number or own_id is not None or len(compact) < len(body):
        body = compact
    if len(body) > limits.max_document_bytes:
        raise TooLargeError(
            "the document", f"has {len(body)} bytes; the limit is {limits.max_document_bytes}"
        )
    if not _is_within(document, MAX_DEPTH):
        raise BadRequestError("the document", f"is nested more than {MAX_DEPTH} deep")
    yield
    return Parsed(document_id(document, max_bytes=limits.max_id_bytes), document, body)


def stored_body(definition: Collection, parsed: Parsed) -> bytes:
    """The JSON of a document that fits its collection, as it is stored: with packed vectors."""
    if definition.vectors and with_stored_vectors(definition, parsed.document):
        return _encode(parsed.document)
    return parsed.body


def parse_changes(body: bytes, limits: LimitSettings) -> dict[str, Any]:
    """Read the changes that are to be merged into a document: an object of a document's values.

    Raises:
        BadRequestError: names the field (or the body) and the reason.
        TooLargeError: it has more values than a document may have.
    """
    try:
        if _seems_over(body, limits.max_document_values):
            _check_values(body, limits.max_document_values)
        changes = _decode(body)
        if changes is None:
            changes = _decode_with_reasons(body)
        _encode(changes)
    except UnicodeEncodeError as error:
        raise BadRequestError("the body", "contains half of a surrogate pair") from error
    except TooLargeError as error:
        raise TooLargeError("the body", error.reason) from error
    except BadRequestError as error:
        raise BadRequestError("the body", error.reason, error.position) from error
    if not _is_within(changes, MAX_DEPTH):
        raise BadRequestError("the body", f"is nested more than {MAX_DEPTH} deep")
    if "id" in changes and changes["id"] is None:
        raise BadRequestError("id", "cannot be removed")
    return changes


def _seems_over(line: bytes, limit: int) -> bool:
    """Return whether a document may have more than `limit` values, judged by its bytes.

    Every value but the first follows a comma or an opening bracket; those in strings count too.
    """
    # At most half of the bytes are brackets or commas between values.
    return len(line) > limit and line.count(b",") + line.count(b"[") + line.count(b"{") > limit


def _check_values(line: bytes, limit: int) -> None:
    """Refuse a document that has more than `limit` values, without decoding it.

    It takes some milliseconds per megabyte, so it is only called for a line that `_seems_over` the
    limit, such as one with much JSON or CSV in its strings.

    Raises:
        TooLargeError: it has more values.
    """
    bare = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    num_quotes = bare.count(b'"')
    # A string is a value or a key, and there are at most as many keys as values.
    if num_quotes <= 4 * limit:
        bare = b"".join(bare.split(b'"')[::2])
    if num_quotes > 4 * limit or _seems_over(bare, limit):
        raise TooLargeError("the document", f"has more than {limit} values, which is the limit")


def _decode(line: bytes) -> dict[str, Any] | None:
    """Decode a document; returns None if it probably has to be refused."""
    try:
        document = from_json(line, allow_inf_nan=False)
    except ValueError:
        return None
    return document if type(document) is dict and not _has_overflow(document) else None


def _has_overflow(document: dict[str, Any]) -> bool:
    """Return whether a number has more than 64 bits, or does not fit in a float."""
    try:
        packed = _pack(document)
    except OverflowError:
        return True
    return any(infinity in packed for infinity in _INFINITIES)


def _decode_with_reasons(line: bytes) -> dict[str, Any]:
    """Decode with the standard library, which is several times slower but reports the error."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("the line", f"is not UTF-8: {error.reason}", error.start) from error
    try:
        document: Any = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" starting at")
        reason = f"is not JSON: {what} at character {error.pos + 1}"
        raise BadRequestError("the line", reason, error.pos) from error
    except RecursionError as error:
        raise BadRequestError("the document", f"is nested more than {MAX_DEPTH} deep") from error
    except ValueError as error:
        raise BadRequestError("the document", f"has {error}") from error
    if type(document) is not dict:
        raise BadRequestError("the line", "is not a JSON object")
    return document


def _is_within(document: dict[str, Any], depth: int) -> bool:
    level: list[Any] = [document]
    for _ in range(depth):
        level = [
            value
            for container in level
            for value in (container.values() if type(container) is dict else container)
            if type(value) in _CONTAINERS
        ]
        if not level:
            return True
    return False


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name}, which is not JSON")


def _finite(text: str) -> float:
    # The standard library takes much longer to convert some numbers to floats.
    value: float = from_json(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]}, which does not fit in a float")
    return value


def _within_64_bits(text: str) -> int:
    # Every integer of 64 bits has at most twenty characters; int() refuses very long ones.
    value = int(text) if len(text) <= 20 else 2**64
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"the integer {text[:40]}, which has more than 64 bits")
    return value


_encode = msgspec.json.Encoder().encode
_pack = msgpack.Packer(autoreset=True).pack
_DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, parse_int=_within_64_bits
)
