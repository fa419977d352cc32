"""When an index is rewritten to get boundaries of ids (`id_levels`), apart from optimising.

A new index has no documents from which boundaries could be chosen. It gets boundaries once it has
some, and new ones when they no longer range from a few documents to a large part of all (if all
later ids are greater, for example). For this, a small index is rewritten between two writes, within
2 s; a larger one gets its boundaries when it is optimised.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hedgerow.shard_worker.storage.id_levels import Level, boundary_ranks
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from hedgerow.shard_worker.storage.vector_writer import index_before

FEWEST_DOCUMENTS = 1024
MOST_DOCUMENTS = 16_384
MOST_BYTES = 16_000_000  # of the index
_MOST_IN_LOWEST = 16  # documents
_LEAST_IN_HIGHEST = 1 / 16  # of all documents


def are_to_be_chosen(folder: Path, num_documents: int) -> bool:
    """Whether an index lacks suitable boundaries and is small enough to be rewritten at once.

    Args:
        folder: the index's.
        num_documents: how many documents it has.
    """
    if not FEWEST_DOCUMENTS <= num_documents <= MOST_DOCUMENTS or _num_bytes(folder) > MOST_BYTES:
        return False
    return not suit(TextIndex.open(folder).levels, num_documents)


def chosen(store: Store, uid: str) -> list[str]:
    """The boundaries for an index of a collection: ids, in ascending order."""
    return store.ids_at(uid, boundary_ranks(store.count(uid)))


def rewrite_with_levels(writer: TextIndexWriter, store: Store, uid: str) -> None:
    """Rewrite an index with other boundaries, in one commit.

    If that fails, the index is unchanged, and the writer can no longer be used.
    """
    try:
        before = index_before(writer.path, writer.collection)
        writer.clear(chosen(store, uid))
        writer.add(store.scan(uid), before)
        writer.commit()
    except BaseException:
        writer.abandon()  # otherwise its next commit would publish an incomplete index
        raise


def suit(levels: Sequence[Level], num_documents: int) -> bool:
    """Whether the levels, lowest first, range from a few documents to a large part of all."""
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
