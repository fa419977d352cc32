"""Writes the changes of a batch to a text index."""

from collections.abc import Mapping

import structlog

from hedgerow.shard_worker.storage.document_maker import decoded
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

_log = structlog.get_logger()


def write_documents(
    writer: TextIndexWriter, documents: Mapping[str, bytes | None], *, with_bodies: bool
) -> None:
    """Write documents to an index; does not commit.

    Args:
        writer: the index's.
        documents: id → JSON, or None to remove the document.
        with_bodies: whether to keep the documents beside the index too (`bodies`).

    Raises:
        OSError: the writer accepts no more documents.
    """
    deletes = [one for one, body in documents.items() if body is None]
    upserts = [(one, decoded(body)) for one, body in documents.items() if body is not None]
    bodies = documents if with_bodies else {}
    try:
        writer.apply(deletes, upserts, bodies)
    except (TypeError, ValueError, OverflowError):
        # The gateway has checked each against the fields, so this should not happen. The others
        # are written all the same: applying them a second time replaces them.
        for upsert in upserts:
            try:
                writer.apply((), (upsert,), bodies)
            except (TypeError, ValueError, OverflowError):
                _log.exception("document_not_indexed", path=str(writer.path), id=upsert[0])
