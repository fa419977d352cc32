"""The files of a text index: tantivy's own, and the definition that the index was made with."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tantivy

from hedgerow.common.collection import Collection
from hedgerow.common.errors import WireError
from hedgerow.shard_worker.storage.schema import register_analysers

FORMAT = 1
_ABOUT = "hedgerow.json"
_META = "meta.json"
_ABSENT = (FileNotFoundError, NotADirectoryError)


class TextIndexError(Exception):
    """The folder holds no index that this version can read; it has to be rebuilt."""


def open_index(path: Path, collection: Collection) -> tantivy.Index:
    """Open tantivy's index in a folder, with the collection's analysers.

    Raises:
        TextIndexError: there is no index, or it is damaged.
        OSError: the operating system refuses to open it for now.
    """
    try:
        index = tantivy.Index.open(str(path))
        register_analysers(index, collection)
        # The indexer announces new generations; watching the folder would take a thread.
        index.config_reader("manual")
        index.searcher()
    except ValueError as error:
        raise refusal(path, error) from error
    return index


def refusal(path: Path, error: ValueError) -> TextIndexError | OSError:
    """The error that a ValueError of tantivy means.

    A TextIndexError if the index is damaged, an OSError if it cannot be opened now.
    """
    text = f"{path}: {error}"
    # Only the message tells which. A lock that another writer holds, or a refused system call
    # ("Os { code: 24, …"), is no reason to delete the index.
    is_refused = "LockBusy" in text or "Os { code" in text or "(os error" in text
    return OSError(text) if is_refused else TextIndexError(text)


def read_about(path: Path, *, is_complete: bool = True) -> dict[str, Any]:
    """Read what `write_about` has written.

    Raises:
        TextIndexError: it cannot be read or has another format; with `is_complete`, also while the
            index is being rebuilt.
    """
    try:
        about = dict(json.loads((path / _ABOUT).read_bytes()))
        if about["format"] != FORMAT:
            raise TextIndexError(f"{path} has format {about['format']}; this version has {FORMAT}")
        if is_complete and not about["is_complete"]:
            raise TextIndexError(f"{path}: its rebuild is incomplete")
    except (*_ABSENT, ValueError, KeyError, TypeError) as error:
        raise TextIndexError(f"{path}: {error}") from error
    return about


def collection_of(about: Mapping[str, Any]) -> Collection:
    """The definition that an index was made with.

    Raises:
        TextIndexError: it cannot be read.
    """
    try:
        return Collection.from_json(about["collection"])
    except (WireError, KeyError) as error:
        raise TextIndexError(f"the definition of the index cannot be read: {error}") from error


def definition_of(path: Path) -> Collection | None:
    """The definition that an index was made with; None if there is no complete index."""
    try:
        return collection_of(read_about(path))
    except TextIndexError:
        return None


def fitting_definition(about: Mapping[str, Any], collection: Collection) -> Collection:
    """The definition to write an index with: `collection`, or an earlier one with fewer fields.

    Raises:
        TextIndexError: the index's documents were analysed in another way.
    """
    earlier = collection_of(about)
    if earlier.analysis == collection.analysis:
        return collection
    if not collection.extends(earlier):
        raise TextIndexError("the collection's fields, weights or analysis have changed")
    return earlier


def write_about(
    path: Path, collection: Collection, *, is_complete: bool, epoch: int | None = None
) -> None:
    """Record how an index was made.

    Args:
        path: the index's folder.
        collection: the definition that it is made with.
        is_complete: whether the index has all documents of the store.
        epoch: where the index's generations start; None for the current time in µs.
    """
    about = {
        "format": FORMAT,
        "is_complete": is_complete,
        "epoch": time.time_ns() // 1000 if epoch is None else epoch,
        "collection": collection.to_json(),
    }
    written = path / f"{_ABOUT}.new"
    written.write_text(json.dumps(about))
    written.replace(path / _ABOUT)


def read_opstamp(path: Path) -> int:
    """The number of the last operation that was committed.

    Raises:
        TextIndexError: there is no index, or it is damaged.
    """
    try:
        return int(_read_meta(path)["opstamp"])
    except (*_ABSENT, ValueError, KeyError, TypeError) as error:
        raise TextIndexError(f"{path}: {error}") from error


def segments_of(path: Path) -> bytes:
    """What an index consists of: differs after each commit and each merge; b"" without an index."""
    try:
        return (path / _META).read_bytes()
    except _ABSENT:
        return b""


def read_fields(path: Path) -> set[str]:
    """The names of an index's fields, internal ones included.

    Raises:
        TextIndexError: there is no index, or it is damaged.
    """
    try:
        return {str(field["name"]) for field in _read_meta(path)["schema"]}
    except (*_ABSENT, ValueError, KeyError, TypeError) as error:
        raise TextIndexError(f"{path}: {error}") from error


def _read_meta(path: Path) -> Any:
    return json.loads((path / _META).read_bytes())
