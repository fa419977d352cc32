"""The operations in a shard's log, and their packed form.

Each replaces or removes by id, so that applying it twice changes nothing. A `Write` has a
condition, and a token by which a second copy of it is recognised.

A packed operation is an array: the operation's code and its parts. Parts after those that are known
are a newer gateway's, and are ignored. An operation that a reader must not ignore, or must not read
by these rules, begins with the number of its format, at least 2: a worker that does not know the
format stops before it, and applies it once it is upgraded (docs/upgrading.md). In format 2, the
code comes after the number; it is the format of `Write` and of `Remember`. Gateways append a
`Write` only while every live worker says that it knows it (`Heartbeat.writes`); the copies of a
split append a `Remember`, and workers that know splits know it.
"""

from typing import Any, NamedTuple

import msgpack

from hedgerow.common.collection import Collection
from hedgerow.common.errors import NewerVersionError, WireError
from hedgerow.common.shard_log.judgement import Judgement
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


class Remember(NamedTuple):
    """How conditional writes have ended in the shard that this one is split from, oldest first."""

    judgements: list[Judgement]


Op = Create | Drop | Upsert | Delete | Write | Remember
FORMAT = 2  # the newest that this version knows

_WRITE, _REMEMBER = "write", "remember"
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
    match op:
        case Write():
            kind: tuple[int | str, ...] = FORMAT, _WRITE
        case Remember():
            kind = FORMAT, _REMEMBER
        case _:
            kind = (_CODES[type(op)],)
    packed: bytes = _packb((*kind, *op))
    return packed


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
            return _of_format_2(parts)
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


def _of_format_2(parts: list[Any]) -> Write | Remember:
    """Read an operation of format 2.

    Raises:
        NewerVersionError: it is one that was added later.
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
        case ["remember", list(judged), *_]:
            return Remember([_judgement(one) for one in judged])
        case [str(code), *_] if code not in (_WRITE, _REMEMBER):
            raise NewerVersionError(f"an entry of the log is a {code!r}, which is unknown: {HINT}")
    raise WireError("a conditional write is not of the form that the log's format names")


def _judgement(parts: Any) -> Judgement:
    match parts:
        case [str(token), bool(is_done), str(version), *_]:
            return Judgement(token, is_done, version)
    raise WireError("a judgement is not of the form that the log's format names")
