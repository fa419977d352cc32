"""The operations in a shard's log, and their packed form.

Each replaces or removes by id, so that applying it twice changes nothing. A `Write` has a
condition, and a token by which a second copy of it is recognised.

A packed operation is an array: the operation's code and its parts. Parts after those that are known
are a newer gateway's, and are ignored. An operation that a reader must not ignore, or must not read
by these rules, begins with the number of its format, at least 2: a worker that does not know the
format stops before it, and applies it once it is upgraded (docs/upgrading.md). In format 2, the
code comes after the number; it is the format of `Write`. Gateways append one only while every live
worker says that it knows it (`Heartbeat.writes`).
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgpack
import msgspec

from hedgerow.common.collection import Collection
from hedgerow.common.errors import NewerVersionError, WireError
from hedgerow.common.wire.formats import HINT, other_format


class Create(NamedTuple):
    """A collection's definition, new or changed."""

    definition: str


class Drop(NamedTuple):
    """Removes everything of one collection."""

    uid: str


class Upsert(NamedTuple):
    """Documents that replace those of the same id: pairs of id and JSON."""

    uid: str
    documents: list[tuple[str, bytes]]


class Delete(NamedTuple):
    """Ids of documents to remove."""

    uid: str
    ids: list[str]


class Write(NamedTuple):
    """A write of one document that is done only if the document has a certain version by then.

    Attributes:
        uid: the collection's.
        id: the document's.
        body: its JSON from then on; None to remove it.
        expected: the version that it must have; `ABSENT` if it must not exist.
        token: identifies the write. Of several copies with the same token, the first decides.
    """

    uid: str
    id: str
    body: bytes | None
    expected: str
    token: str


Op = Create | Drop | Upsert | Delete | Write
FORMAT = 2  # the newest that this version knows

_WRITE = "write"
_CODES: dict[type[Op], str] = {
    Create: "create",
    Drop: "drop",
    Upsert: "upsert",
    Delete: "delete",
}
_TYPES: dict[str, type[Op]] = {code: kind for kind, code in _CODES.items()}
_packb = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def pack_op(op: Op) -> bytes:
    """Pack an operation for the log."""
    kind = (FORMAT, _WRITE) if isinstance(op, Write) else (_CODES[type(op)],)
    packed: bytes = _packb((*kind, *op))
    return packed


class _Head(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The beginning of an operation; the documents after it are not decoded."""

    code: int | str
    first: str
    second: msgspec.Raw = msgspec.Raw(b"\xc0")


_head = msgspec.msgpack.Decoder(_Head).decode
_text = msgspec.msgpack.Decoder(str).decode
_ADDS_NOTHING: Final = frozenset({_CODES[Create], _CODES[Drop], _CODES[Delete]})


def written_uids(ops: Iterable[bytes]) -> set[str]:
    """The collections to which operations may add documents, or words of documents.

    Operations that cannot be read are skipped, as they are when they are applied.
    """
    uids = set()
    for op in ops:
        try:
            head = _head(op)
            if head.code not in _ADDS_NOTHING:
                uids.add(_text(head.second) if type(head.code) is int else head.first)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return uids


def unpack_op(data: bytes) -> Op:
    """Unpack an operation.

    Raises:
        NewerVersionError: it is of a newer format, so this process must not skip it.
        WireError: it is malformed, or of a kind, or a definition of a collection, that this version
            does not know.
    """
    try:
        code, *parts = msgpack.unpackb(data)
        if type(code) is int and code > FORMAT:
            raise NewerVersionError(other_format("an entry of the log", code, FORMAT))
        if type(code) is int and code == FORMAT:
            return _write(parts)
        kind = _TYPES[code]
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise WireError(f"not an operation of the log: {error or type(error).__name__}") from error
    if kind in (Create, Drop) and parts and type(parts[0]) is str:
        if kind is Drop:
            return Drop(parts[0])
        Collection.from_json(parts[0])
        return Create(parts[0])
    if len(parts) >= 2 and type(parts[0]) is str and type(parts[1]) is list:
        uid, items = parts[:2]
        if kind is Delete and all(type(item) is str for item in items):
            return Delete(uid, items)
        if kind is Upsert and all(
            type(item) is list
            and len(item) == 2
            and type(item[0]) is str
            and type(item[1]) is bytes
            for item in items
        ):
            return Upsert(uid, [(item[0], item[1]) for item in items])
    raise WireError(f"the parts of {code!r} are not of the types that the log's format names")


def _write(parts: list[Any]) -> Write:
    """Read an operation of format 2.

    Raises:
        NewerVersionError: it is not a `Write`, but one that was added later.
        WireError: it is malformed.
    """
    match parts:
        case [
            "write",
            str(uid),
            str(document_id),
            bytes() | None as body,
            str(expected),
            str(token),
            *_,
        ]:
            return Write(uid, document_id, body, expected, token)
        case [str(code), *_] if code != _WRITE:
            raise NewerVersionError(f"an entry of the log is a {code!r}, which is unknown: {HINT}")
    raise WireError("a conditional write is not of the form that the log's format names")
