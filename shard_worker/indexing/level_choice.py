"""When an index is rewritten to get boundaries of ids (`id_levels`), apart from optimising.

A new index has no documents from which boundaries could be chosen. It gets them when it has some,
and others when they no longer reach from a few documents to a good part of all, as when later ids
are all greater. For that, an index is rewritten between two writes, in 2 s at most; for larger
ones, optimising does it.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hedgerow.shard_worker.storage.id_levels import Level, boundary_ranks
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

FEWEST_DOCUMENTS = 1024
MOST_DOCUMENTS = 16_384
MOST_BYTES = 16_000_000  # of the index
_MOST_IN_LOWEST = 16  # documents
_LEAST_IN_HIGHEST = 1 / 16  # of all documents


def are_to_be_chosen(folder: Path, num_documents: int) -> bool:
    """Whether an index lacks boundaries that suit it, and can be rewritten between two writes.

    Args:
        folder: the index's.
        num_documents: how many documents it has.
    """
    if not FEWEST_DOCUMENTS <= num_documents <= MOST_DOCUMENTS or _num_bytes(folder) > MOST_BYTES:
        return False
    return not suit(TextIndex.open(folder).levels, num_documents)


def chosen(store: Store, uid: str) -> list[str]:
    """The ids that are to be the boundaries in an index of a collection, in ascending order."""
    return store.ids_at(uid, boundary_ranks(store.count(uid)))


def write_anew(writer: TextIndexWriter, store: Store, uid: str) -> None:
    """Rewrite an index with other boundaries, in one commit.

    If that fails, the index stays as it was, and the writer cannot be used any more.
    """
    try:
        writer.clear(chosen(store, uid))
        writer.add(store.scan(uid))
        writer.commit()
    except BaseException:
        writer.abandon()  # or the next commit would be of an index that is empty, or half full
        raise


def suit(levels: Sequence[Level], num_documents: int) -> bool:
    """Whether the levels, the lowest first, reach from a few documents to a good part of all."""
    return (
        bool(levels)
        and levels[0].num_documents <= _MOST_IN_LOWEST
        and levels[-1].num_documents >= num_documents * _LEAST_IN_HIGHEST
    )


def _num_bytes(folder: Path) -> int:
    num_bytes = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # a merge may have removed it
            num_bytes += path.stat().st_size
    return num_bytes
