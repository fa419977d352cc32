"""The operations in a shard's log, and their packed form.

Each replaces or removes by id, so that applying it twice changes nothing. A `Write` has a
condition, and a token by which a second copy of it is recognised. `Mirror` and those after it make
one collection follow another (docs/reindexing.md).

A packed operation is an array: the operation's code and its parts. Parts after those that are known
are a newer gateway's, and are ignored. An operation that a reader must not ignore, or must not read
by these rules, begins with the number of its format, at least 2: a worker that does not know the
format stops before it, and applies it once it is upgraded (docs/upgrading.md). In format 2, the
code comes after the number; it is the format of `Write`, and of `Mirror` and those after it.
Gateways append one only while every live worker says that it knows it (`Heartbeat.writes`). The
copies of a split append a `Remember`, which workers that know splits know.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgpack
import msgspec

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


class Mirror(NamedTuple):
    """From here on, what is written to one collection is written to another one, too.

    Attributes:
        mirror: identifies the pair; a second copy of the operation changes nothing.
        old: uid of the collection that is written to.
        new: uid of the one that follows it.
    """

    mirror: str
    old: str
    new: str


class CopyNext(NamedTuple):
    """Gives the collection that follows the next documents that it lacks, in ascending ids.

    Every replica copies the same documents at the same place of its log.

    Attributes:
        mirror: the pair.
        number: of the step, from 1; a step whose number was reached before changes nothing.
        documents: how many to copy, at most.
        bytes: how large they may be together; at least one is copied.
    """

    mirror: str
    number: int
    documents: int
    bytes: int


class Turn(NamedTuple):
    """From here on, the old collection follows the new one, and a write to it is one to the new."""

    mirror: str


class Unmirror(NamedTuple):
    """From here on, neither collection of a pair follows the other."""

    mirror: str


MirrorOp = Mirror | CopyNext | Turn | Unmirror
Op = Create | Drop | Upsert | Delete | Write | MirrorOp | Remember
FORMAT = 2  # the newest that this version knows
MIRRORS = 2  # `Heartbeat.writes` of a worker that knows `MirrorOp`

_WRITE = "write"
_SECOND_CODES: dict[type[Op], str] = {
    Write: _WRITE,
    Remember: "remember",
    Mirror: "mirror",
    CopyNext: "copy",
    Turn: "turn",
    Unmirror: "unmirror",
}
_CODES: dict[type[Op], str] = {
    Create: "create",
    Drop: "drop",
    Upsert: "upsert",
    Delete: "delete",
}
_TYPES: dict[str, type[Op]] = {code: kind for kind, code in _CODES.items()}
_packb = msgpack.Packer(use_bin_type=True, autoreset=True).pack
# How some operations begin, after the byte that is the array's length.
_CREATE_START: bytes = _packb(_CODES[Create])
_DROP_START: bytes = _packb(_CODES[Drop])
_MIRROR_STARTS: tuple[bytes, ...] = tuple(
    _packb(FORMAT) + _packb(code)
    for kind, code in _SECOND_CODES.items()
    if kind not in (Write, Remember)
)


def pack_op(op: Op) -> bytes:
    """Pack an operation for the log."""
    second = _SECOND_CODES.get(type(op))
    kind = (_CODES[type(op)],) if second is None else (FORMAT, second)
    packed: bytes = _packb((*kind, *op))
    return packed


class _Head(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The beginning of an operation; the documents after it are not decoded."""

    code: int | str
    first: str
    second: msgspec.Raw = msgspec.Raw(b"\xc0")


_head = msgspec.msgpack.Decoder(_Head).decode
_text = msgspec.msgpack.Decoder(str).decode


def written_uids(ops: Iterable[bytes]) -> set[str]:
    """The collections to which operations name documents to add.

    A collection that follows another one gets its documents without being named. Operations that
    cannot be read are skipped, as they are when they are applied.
    """
    uids = set()
    for op in ops:
        try:
            head = _head(op)
            if head.code == _CODES[Upsert]:
                uids.add(head.first)
            elif head.code == FORMAT and head.first == _WRITE:
                uids.add(_text(head.second))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return uids


def is_of_mirror(packed: bytes) -> bool:
    """Whether a packed operation is a `MirrorOp`."""
    return packed.startswith(_MIRROR_STARTS, 1)


def is_definition(packed: bytes) -> bool:
    """Whether a packed operation is a `Create`."""
    return packed.startswith(_CREATE_START, 1)


def is_drop(packed: bytes) -> bool:
    """Whether a packed operation is a `Drop`."""
    return packed.startswith(_DROP_START, 1)


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
            return _of_second_format(parts)
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


def _of_second_format(parts: list[Any]) -> Op:
    """Read an operation of format 2.

    Raises:
        NewerVersionError: it is one that was added later.
        WireError: it is malformed.
    """
    match parts:
        case ["mirror", str(mirror), str(old), str(new), *_]:
            return Mirror(mirror, old, new)
        case ["copy", str(mirror), int(number), int(documents), int(num_bytes), *_]:
            return CopyNext(mirror, number, documents, num_bytes)
        case ["turn", str(mirror), *_]:
            return Turn(mirror)
        case ["unmirror", str(mirror), *_]:
            return Unmirror(mirror)
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
        case [str(code), *_] if code not in _SECOND_CODES.values():
            raise NewerVersionError(f"an entry of the log is a {code!r}, which is unknown: {HINT}")
    raise WireError("an operation of format 2 is not of the form that the log's format names")


def _judgement(parts: Any) -> Judgement:
    match parts:
        case [str(token), bool(is_done), str(version), *_]:
            return Judgement(token, is_done, version)
    raise WireError("a judgement is not of the form that the log's format names")
