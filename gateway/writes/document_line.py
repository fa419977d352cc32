"""Turns a line of a bulk load into a valid document, in bounded time.

A document's bytes and values are counted before it is decoded, since the time of every later step
depends on them. The worst document that is accepted takes less than 5 ms on the event loop.
"""

import json
import math
from collections.abc import Container, Generator
from typing import Any, NamedTuple

import msgpack
import msgspec
from pydantic_core import from_json

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD, document_id
from hedgerow.common.documents.document_check import with_stored_vectors
from hedgerow.common.errors import BadRequestError, TooLargeError
from hedgerow.common.fields.field_types import FieldType, mismatch
from hedgerow.common.settings.limits import LimitSettings

MAX_DEPTH = 100

# What MessagePack can represent.
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1

# The two infinities in MessagePack; other data rarely contains these bytes.
_INFINITIES = (b"\xcb\x7f\xf0\0\0\0\0\0\0", b"\xcb\xff\xf0\0\0\0\0\0\0")
_CONTAINERS = (dict, list)


class Parsed(NamedTuple):
    """The document of one line: its id, its members, and its compact JSON."""

    id: str
    document: dict[str, Any]
    body: bytes


def parse_document(
    line: bytes,
    limits: LimitSettings,
    floats: Container[str] = frozenset(),
    own_id: str | None = None,
) -> Parsed:
    """Read one document; an id that is a whole number becomes the text of its digits.

    Values that MessagePack, UTF-8 or a JSON response cannot represent are refused here, so that
    every accepted document can be fetched again: NaN and infinities, integers over 64 bits, halves
    of surrogate pairs, nesting over `MAX_DEPTH`. In a field of type float, an integer over 64 bits
    becomes the nearest float.

    Args:
        line: the JSON.
        limits: of documents.
        floats: the names of the fields of type float.
        own_id: the id that it must have; see `parse_steps`.

    Raises:
        BadRequestError: names the field (or the line) and the reason.
        TooLargeError: the document, its id or the number of its values exceeds its limit.
    """
    steps = parse_steps(line, limits, floats, own_id)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            parsed: Parsed = end.value
            return parsed


def parse_steps(
    line: bytes,
    limits: LimitSettings,
    floats: Container[str] = frozenset(),
    own_id: str | None = None,
) -> Generator[None, None, Parsed]:
    """As `parse_document`, in steps of some milliseconds at most, for a line that is long.

    A document that `own_id` is given for may lack an `id`, and must not have another; its JSON is
    then on one line, whatever it was on before. Its integers over 64 bits stay as they are, for
    the parsing of that line to judge, unless they are nested.
    """
    if _seems_over(line, limits.max_document_values):
        yield
        _check_values(line, limits.max_document_values)
    yield
    decoded = _decode(line)
    document = decoded and _with_floats(decoded, floats if own_id is None else None)
    if document is None:
        yield
        document = _decode_with_reasons(line)
    yield
    if own_id is not None:
        document = _with_id(decoded or document, own_id)
    elif type(document.get("id")) is int:  # and not a bool
        document = document | {"id": str(document["id"])}
    body = line.strip()
    try:
        compact = _encode(document)
    except UnicodeEncodeError as error:
        raise BadRequestError("the document", "contains half of a surrogate pair") from error
    if document is not decoded or len(compact) < len(body):
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


def parse_changes(
    body: bytes, limits: LimitSettings, floats: Container[str] = frozenset()
) -> dict[str, Any]:
    """Read the changes that are to be merged into a document: an object of a document's values.

    In a field of type float (`floats`), an integer over 64 bits becomes the nearest float.

    Raises:
        BadRequestError: names the field (or the body) and the reason.
        TooLargeError: it has more values than a document may have.
    """
    try:
        if _seems_over(body, limits.max_document_values):
            _check_values(body, limits.max_document_values)
        changes = _decode(body)
        changes = changes and _with_floats(changes, floats)
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
    """Decode a document, whatever its numbers are; returns None if it has to be refused."""
    try:
        document = from_json(line, allow_inf_nan=False)
    except ValueError:
        return None
    return document if type(document) is dict else None


def _has_overflow(document: dict[str, Any]) -> bool:
    """Return whether a number has more than 64 bits, or does not fit in a float."""
    try:
        packed = _pack(document)
    except OverflowError:
        return True
    return any(infinity in packed for infinity in _INFINITIES)


def _with_floats(document: dict[str, Any], names: Container[str] | None) -> dict[str, Any] | None:
    """Replace the integers over 64 bits among the members of these names by the nearest floats.

    Args:
        document: is not changed.
        names: None for all but that of the id.

    Returns:
        The document itself if nothing is to be replaced; None if it has other numbers that do not
        fit.
    """
    if not _has_overflow(document):
        return document
    replaced = document | {
        name: float(value)
        for name, value in document.items()
        if type(value) is int
        and not _MIN_INTEGER <= value <= _MAX_INTEGER
        and (name != ID_FIELD if names is None else name in names)
        and not mismatch(FieldType.FLOAT, value)
    }
    return None if _has_overflow(replaced) else replaced


def _with_id(document: dict[str, Any], own_id: str) -> dict[str, Any]:
    """Return the document with this id, which it has already, as a text or number, or lacks."""
    found = document.get(ID_FIELD, own_id)
    if type(found) is int:  # and not a bool
        found = str(found)
    if found != own_id:
        raise BadRequestError("id", f"is {found!r} in the body and {own_id!r} in the address")
    return {"id": own_id} | document | {"id": own_id}


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
    if not _MIN_INTEGER <= value <= _MAX_INTEGER:
        raise ValueError(f"the integer {text[:40]}, which has more than 64 bits")
    return value


_encode = msgspec.json.Encoder().encode
_pack = msgpack.Packer(autoreset=True).pack
_DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, parse_int=_within_64_bits
)
