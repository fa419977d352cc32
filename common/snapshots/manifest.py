"""A snapshot of a shard: its manifest, its name, and which snapshots are kept. No I/O.

A snapshot is a folder with a shard's document store, its text indexes, and a manifest. The manifest
is written last and lists every other file with its size and checksum. A folder without a complete
manifest is therefore not a snapshot, and a missing, short or changed file is detected.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import msgspec

from hedgerow.common.errors import SnapshotError
from hedgerow.common.machine.folder_lock import LOCK_FILE
from hedgerow.common.wire.formats import other_format

FORMAT = 1
MANIFEST = "manifest.json"
STORE = "store.sqlite"
# Enough for some 100,000 files. It is read before its signature can be checked.
MAX_MANIFEST_BYTES = 16 * 1024 * 1024

_ID = re.compile(r"\d{8}T\d{9}Z-[0-9a-f]{6}")
# A file of the store, or one in a text index's folder; no path that leads out of the snapshot.
_PATH = re.compile(r"(?:\w[\w.-]*/)?(?!\.+$)[\w.][\w.-]*")
_POSITION = re.compile(r"\d+-\d+")


class FileFacts(NamedTuple):
    """One file of a snapshot: its path in the snapshot, its size, and its SHA-256 (hex)."""

    path: str
    num_bytes: int
    sha256: str


class CollectionFacts(NamedTuple):
    """One collection in a snapshot."""

    uid: str
    name: str
    documents: int


@dataclass(frozen=True)
class Manifest:
    """A snapshot's contents, as in its `manifest.json`.

    Attributes:
        id: when it was made, and a random suffix; ids sort by age.
        shard: the shard.
        num_shards: of the cluster; a cluster with another number spreads documents in another way.
        position: id of the last log entry in it.
        made_at_ms: when it was made, an instant on the Redis server's clock.
        version: Hedgerow's version.
        collections: its collections.
        files: all files except the manifest.
        signature: of everything else, by `common.snapshots.signature`; "" if it is not signed.
        content: all members of the file that it was read from, with those that a newer version
            wrote and this one ignores; empty if it was not read.
    """

    id: str
    shard: int
    num_shards: int
    position: str
    made_at_ms: int
    version: str
    collections: Sequence[CollectionFacts]
    files: Sequence[FileFacts]
    signature: str = ""
    content: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def documents(self) -> int:
        """The number of documents, of all collections."""
        return sum(one.documents for one in self.collections)

    @property
    def num_bytes(self) -> int:
        """The size of all files."""
        return sum(one.num_bytes for one in self.files)

    def to_json(self) -> bytes:
        """The content of the file `manifest.json`."""
        facts = {
            "format": FORMAT,
            **{name: getattr(self, name) for name in _MEMBERS},
            "collections": [one._asdict() for one in self.collections],
            "files": [one._asdict() for one in self.files],
        }
        if not self.signature:
            del facts["signature"]
        return _encode(facts)

    def signed_content(self) -> bytes:
        """What its signature covers: everything else, as written or as read."""
        if not self.content:
            return replace(self, signature="").to_json()
        return _encode({k: v for k, v in self.content.items() if k != "signature"})

    @classmethod
    def from_json(cls, data: bytes) -> "Manifest":
        """Read what `to_json` wrote.

        Raises:
            SnapshotError: it is too long, truncated, of another format, or names files outside of
                the snapshot.
        """
        if len(data) > MAX_MANIFEST_BYTES:
            raise SnapshotError(f"a manifest of more than {MAX_MANIFEST_BYTES} bytes")
        try:
            content = msgspec.json.decode(data, type=dict[str, Any])
            found = msgspec.convert(content, _Format).format
            if found != FORMAT:
                raise SnapshotError(other_format("the snapshot", found, FORMAT))
            read = msgspec.convert(content, _ManifestFile)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise SnapshotError(f"a manifest that cannot be read: {error}") from error
        facts = {name: getattr(read, name) for name in _MEMBERS}
        collections = [CollectionFacts(*msgspec.structs.astuple(one)) for one in read.collections]
        files = [FileFacts(*msgspec.structs.astuple(one)) for one in read.files]
        facts |= {"collections": tuple(collections), "files": tuple(files)}
        manifest = cls(**facts, content=content)
        paths = [one.path for one in files]
        if (
            not _ID.fullmatch(manifest.id)
            or not _POSITION.fullmatch(manifest.position)
            or not all(map(_PATH.fullmatch, paths))
            or len(set(paths)) != len(paths)
            or STORE not in paths
            # The folder into which it is restored has a lock of this name.
            or any(path.partition("/")[0] == LOCK_FILE for path in paths)
        ):
            raise SnapshotError("a manifest that contradicts itself")
        return manifest


def _encode(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, indent=1).encode() + b"\n"


_MEMBERS = tuple(name for name in Manifest.__dataclass_fields__ if name != "content")
_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Format(msgspec.Struct):
    format: int


class _File(msgspec.Struct):
    path: str
    num_bytes: _Count
    sha256: str


class _Collection(msgspec.Struct):
    uid: str
    name: str
    documents: _Count


class _ManifestFile(_Format):
    """The file's content; a member of another type is an error, one that is unknown is ignored."""

    id: str
    shard: _Count
    num_shards: _Count
    position: str
    made_at_ms: int
    version: str
    collections: list[_Collection]
    files: list[_File]
    signature: str = ""


def snapshot_id(made_at_ms: int, end: str) -> str:
    """Name a snapshot made at an instant (on the Redis server's clock).

    Args:
        made_at_ms: the instant.
        end: six hexadecimal digits, which distinguish snapshots that two workers begin at once.
    """
    made_at = datetime.fromtimestamp(made_at_ms / 1000, UTC)
    return f"{made_at:%Y%m%dT%H%M%S}{made_at_ms % 1000:03d}Z-{end}"


def is_snapshot_id(name: str) -> bool:
    """Whether a folder's name is that of a snapshot."""
    return _ID.fullmatch(name) is not None


def superfluous(
    present: Iterable[str], complete: Iterable[str], keep: int, newest: str
) -> set[str]:
    """Which snapshots of a shard to delete once `newest` is complete.

    Args:
        present: ids of all snapshots, complete or not.
        complete: ids of those with a manifest.
        keep: how many complete ones stay, at least 1.
        newest: the one just made. Younger ones are being made by another worker, and stay.

    Returns:
        Complete ones except the newest `keep`, and unfinished ones that were begun before `newest`.
    """
    older = {one for one in present if one < newest}
    whole = sorted({*complete, newest} - {one for one in complete if one > newest}, reverse=True)
    return older - set(whole[: max(keep, 1)])
