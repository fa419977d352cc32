"""Compares what a shard knows of a collection with another definition of it."""

import structlog

from hedgerow.common.collection import Collection
from hedgerow.common.errors import WireError

_log = structlog.get_logger()


def read_definition(shard: int, uid: str, definition: str) -> Collection | None:
    """A definition as this version reads it; None for one of a newer version."""
    try:
        return Collection.from_json(definition)
    except WireError as error:
        _log.error("definition_unreadable", shard=shard, uid=uid, reason=str(error))
        return None


def num_added_fields(known: Collection | None, other: Collection | None) -> int:
    """How many fields a definition adds to the one that is known; negative if it lacks some.

    0 if neither extends the other.
    """
    if known is None or other is None or not (known.extends(other) or other.extends(known)):
        return 0
    return len(other.fields or {}) - len(known.fields or {})


def missing_fields(collection: Collection, indexed: Collection | None) -> list[str]:
    """The fields of a collection that its index lacks, which was made by an earlier definition."""
    if indexed is None or indexed.fields is None:
        return []
    return [name for name in collection.fields or {} if name not in indexed.fields]
