"""Defines, describes and drops collections, which every gateway can do."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from hedgerow.common.collection import Collection, FieldType, define
from hedgerow.common.errors import BadRequestError, ConflictError, NotFoundError
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.views.freshness import keep_fresh
from hedgerow.gateway.views.shared_run import SharedRun
from hedgerow.gateway.writes.collection_list import (
    CollectionList,
    ListedCollection,
    counts_json,
    definition_json,
)
from hedgerow.gateway.writes.storage_gate import StorageGate


class Collections:
    """Definitions, written through to Redis, with a copy of them for the hot path.

    `run` keeps the copy fresh: at each `wake` (when a change is announced), and by polling in case
    an announcement was lost.
    """

    def __init__(
        self,
        registry: Registry,
        num_shards: int,
        profiles: Iterable[str],
        poll_s: float = 5.0,
        max_collections: int = 0,
        gate: StorageGate | None = None,
    ) -> None:
        """Describe the view; nothing is known before `refresh`.

        Args:
            registry: stores the definitions.
            num_shards: shards in the cluster; each change is logged to all of them.
            profiles: names of the configured rank profiles.
            poll_s: time between two refreshes without `wake`, in s.
            max_collections: the largest number of collections; 0 for no limit.
            gate: refuses changes when there is no room; None allows all.
        """
        self._registry = registry
        self._num_shards = num_shards
        self._profiles = sorted(profiles)
        self._poll_s = poll_s
        self._max_collections = max_collections
        self._gate = gate
        self._known: Mapping[str, Collection] = {}
        self._newer: list[dict[str, Collection | None]] = []  # one for each running refresh
        self._changed = asyncio.Event()
        self._encoder = CollectionList(self._profiles, num_shards)
        # A list reads all definitions from Redis, so concurrent callers share one read.
        self._list = SharedRun(self._read_list)

    def get(self, name: str) -> Collection:
        """Return the definition that this gateway knows, without waiting.

        Raises:
            NotFoundError: it knows no collection of that name.
        """
        collection = self._known.get(name)
        if collection is None:
            raise NotFoundError(f"there is no collection {name!r}")
        return collection

    def use_profiles(self, profiles: Iterable[str]) -> None:
        """From now on, these are the names of the rank profiles there are."""
        self._profiles = sorted(profiles)
        self._encoder = CollectionList(self._profiles, self._num_shards)  # the old one caches them

    def definitions(self) -> Iterable[Collection]:
        """The definitions that this gateway knows."""
        return self._known.values()

    def uids(self) -> Iterable[str]:
        """The uids of all collections that this gateway knows."""
        return [collection.uid for collection in self._known.values()]

    def names(self) -> Mapping[str, str]:
        """Uid → name of all collections that this gateway knows."""
        return {collection.uid: name for name, collection in self._known.items()}

    async def refresh(self) -> None:
        """Read all definitions.

        Raises:
            RedisUnavailableError: Redis did not answer in time.
        """
        # Changes during the read are newer than its result.
        newer: dict[str, Collection | None] = {}
        self._newer.append(newer)
        try:
            known = await self._registry.collections()
        finally:
            # By identity, since two concurrent refreshes may have equal ones.
            self._newer = [other for other in self._newer if other is not newer]
        for name, collection in newer.items():
            if collection is None:
                known.pop(name, None)
            else:
                known[name] = collection
        self._known = known

    def wake(self) -> None:
        """A change was announced: refresh at once."""
        self._changed.set()

    async def run(self) -> None:
        """Keep the copy fresh until cancelled; while Redis is unavailable, the last copy stays."""
        await keep_fresh("collections", self.refresh, self._changed, self._poll_s)

    async def put(self, name: str, body: Mapping[str, Any]) -> Collection:
        """Create a collection; does nothing if an identical one exists.

        Without `fields`, the definition equals one whose fields have been inferred.

        Args:
            name: the collection's name.
            body: `fields`, `rank_profile` and `language`, each optional.

        Raises:
            BadRequestError: names the invalid part of the definition and the reason.
            ConflictError: it exists with another definition, or there are too many collections.
            InsufficientStorageError: a disk or memory runs out.
        """
        if self._gate is not None:
            self._gate.check()
        wanted = define(name, body)
        if wanted.rank_profile not in self._profiles:
            raise BadRequestError(
                "rank_profile", f"{wanted.rank_profile!r} is not a configured profile"
            )
        stored = await self._registry.create_collection(
            wanted, self._num_shards, self._max_collections
        )
        same = define(name, body, stored.uid)
        if same.fields is None and stored.fields is not None:
            same = same.with_fields(stored.fields, stored.weights)
        if same != stored:
            raise ConflictError(
                f'the collection "{name}" exists already, and {_difference(stored, same)}'
            )
        self._keep(stored)
        return stored

    async def current(self, name: str) -> Collection:
        """Return the definition as stored now.

        Raises:
            NotFoundError: there is no collection of that name.
        """
        collection = await self._registry.collection(name)
        if collection is None:
            self._forget(name)
            raise NotFoundError(f"there is no collection {name!r}")
        self._keep(collection)
        return collection

    async def give_fields(
        self, collection: Collection, fields: Mapping[str, FieldType]
    ) -> Collection:
        """Give a collection without fields those inferred from its first documents.

        Returns:
            The collection with fields; those that another gateway inferred, if it was first.

        Raises:
            NotFoundError: the collection was dropped in the meantime.
        """
        stored = await self._registry.compare_and_set_fields(collection, fields, self._num_shards)
        self._keep(stored)
        return stored

    async def drop(self, name: str) -> None:
        """Remove a collection with all its documents; the shards delete them in time.

        Raises:
            NotFoundError: there is no collection of that name.
            InsufficientStorageError: the disk takes no writes at all, not even this one.
        """
        if self._gate is not None:
            self._gate.check(is_removal=True)
        await self._registry.drop_collection(await self.current(name), self._num_shards)
        self._forget(name)

    async def describe(self, name: str) -> dict[str, Any]:
        """Return a collection with its number of documents, as JSON.

        Raises:
            NotFoundError: there is no collection of that name.
        """
        collection = await self.current(name)
        counts = await self._registry.document_counts(collection.uid)
        return {
            **definition_json(collection, self._profiles),
            **counts_json(counts, self._num_shards),
        }

    async def list(self) -> tuple[ListedCollection, ...]:
        """Return every collection by name, as by `describe`; encoded, and shared by all callers."""
        return await self._list.result()

    async def _read_list(self) -> tuple[ListedCollection, ...]:
        await self.refresh()
        collections = [self._known[name] for name in sorted(self._known)]
        counts = await self._registry.document_counts_of(c.uid for c in collections)
        return await self._encoder.encode(collections, counts)

    def _keep(self, collection: Collection) -> None:
        self._known = {**self._known, collection.name: collection}
        for newer in self._newer:
            newer[collection.name] = collection

    def _forget(self, name: str) -> None:
        self._known = {k: v for k, v in self._known.items() if k != name}
        for newer in self._newer:
            newer[name] = None


def _difference(stored: Collection, wanted: Collection) -> str:
    """Say how the stored collection differs, as a clause with JSON values."""
    fields, others = stored.defined_fields, wanted.defined_fields
    if fields != others:
        there = "yet to be inferred" if fields is None else _json(fields)
        return f"its fields are {there}, not {_json(others or {})}"
    for part in ("rank_profile", "language"):
        there, asked = getattr(stored, part), getattr(wanted, part)
        if there != asked:
            return f"its {part} is {_json(there)}, not {_json(asked)}"
    return "it is another"


def _json(value: str | Mapping[str, Any]) -> str:
    return json.dumps(dict(value) if isinstance(value, Mapping) else value, ensure_ascii=False)
