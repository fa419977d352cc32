"""Encodes the list of all collections as JSON, whose bytes all callers share.

The list may have several megabytes: 256 collections of 256 fields with long names have seven.
Clients may read it slowly, and there may be many. Each definition is therefore encoded only when it
changes, and so are the counts of a collection. An answer consists of references to these bytes.
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from msgspec import to_builtins

from hedgerow.common.collection import Collection
from hedgerow.gateway.shapes.collection import Filling
from hedgerow.gateway.views.json_bytes import encode

_NONE: Final[Mapping[str, Filling]] = MappingProxyType({})
_ENCODED_AT_ONCE: Final = 16  # definitions, of up to 0.1 ms each, in one turn of the loop


class ListedCollection(NamedTuple):
    """A collection in the list; `definition` and `counts` together are its JSON.

    Attributes:
        name: its name.
        definition: the beginning of the JSON, up to the counts.
        counts: the rest of it: the numbers of documents, in total and in each shard.
    """

    name: str
    definition: bytes
    counts: bytes


class _Encoded(NamedTuple):
    collection: Collection
    definition: bytes
    per_shard: Mapping[int, int]
    filling: Filling | None
    counts: bytes


class CollectionList:
    """Encodes the list, and caches the encoded parts."""

    def __init__(self, profiles: Sequence[str], num_shards: int) -> None:
        """Describe the collections of a cluster of `num_shards` with rank profiles `profiles`."""
        self._profiles = profiles
        self._num_shards = num_shards
        self._encoded: dict[str, _Encoded] = {}  # by uid

    async def encode(
        self,
        collections: Sequence[Collection],
        counts: Mapping[str, Mapping[int, int]],
        fillings: Mapping[str, Filling] = _NONE,
    ) -> tuple[ListedCollection, ...]:
        """Encode a list.

        Args:
            collections: in the order of the list.
            counts: uid → shard → number of documents.
            fillings: uid → progress of fields that were added.
        """
        before = self._encoded
        encoded: dict[str, _Encoded] = {}
        num_new = 0
        for collection in collections:
            uid = collection.uid
            known = before.get(uid)
            # A definition is read once per version, so another version is another object.
            if known is None or known.collection is not collection:
                definition = encode(definition_json(collection, self._profiles))[:-1] + b","
                num_new += 1
            else:
                definition = known.definition
            per_shard = counts[uid]
            filling = fillings.get(uid)
            if known is None or known.per_shard != per_shard or known.filling != filling:
                tail = encode(counts_json(per_shard, self._num_shards, filling))[1:]
            else:
                tail = known.counts
            encoded[uid] = _Encoded(collection, definition, per_shard, filling, tail)
            if num_new == _ENCODED_AT_ONCE:
                num_new = 0
                await asyncio.sleep(0)
        self._encoded = encoded
        return tuple(
            ListedCollection(entry.collection.name, entry.definition, entry.counts)
            for entry in encoded.values()
        )


def definition_json(collection: Collection, profiles: Sequence[str]) -> dict[str, Any]:
    """Return a definition as JSON; `profiles` are those that a search may use."""
    return {
        "name": collection.name,
        "fields": collection.defined_fields,
        "rank_profile": collection.rank_profile,
        "rank_profiles": list(profiles),
        "language": collection.language,
        "inferred": sorted(collection.inferred),
        "folding": collection.folding,
    }


def counts_json(
    per_shard: Mapping[int, int], num_shards: int, filling: Filling | None = None
) -> dict[str, Any]:
    """Return the numbers of documents, and the progress of added fields, as JSON.

    A shard without an entry has no documents.
    """
    return {
        "documents": sum(per_shard.values()),
        "shards": [
            {"shard": shard, "documents": per_shard.get(shard, 0)} for shard in range(num_shards)
        ],
        "filling": None if filling is None else to_builtins(filling),
    }
