"""Defines, describes and drops collections, which every gateway can do."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Collection as AbstractCollection
from types import MappingProxyType
from typing import Any, Final

from hedgerow.common.collection import Collection, define, with_added_fields
from hedgerow.common.errors import BadRequestError, ConflictError, NotFoundError
from hedgerow.common.fields.embedding import EMBED
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.fields.word_analysis import FIELD_TEXTS
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.shapes.collection import Filling
from hedgerow.gateway.views.freshness import keep_fresh
from hedgerow.gateway.views.shared_run import SharedRun
from hedgerow.gateway.writes.aliases import Aliases
from hedgerow.gateway.writes.collection_list import (
    CollectionList,
    ListedCollection,
    counts_json,
    definition_json,
)
from hedgerow.gateway.writes.same_definition import check_same
from hedgerow.gateway.writes.storage_gate import StorageGate
from hedgerow.gateway.writes.synonyms import Synonyms

# If an alias stands for a collection that is not there, though both were read this often, another
# gateway made the alias at the moment at which the collection was removed.
_MOST_READINGS: Final = 3


class Collections:
    """Definitions, written through to Redis, with a copy of them for the hot path.

    `run` keeps the copy fresh: at each `wake` (when a change is announced), and by polling in case
    an announcement was lost.

    Where a collection is named to be used, an alias names it too. A collection's own name wins over
    an alias of the same name, which can only be there if both were made at the same moment.
    """

    def __init__(
        self,
        registry: Registry,
        num_shards: int,
        profiles: Iterable[str],
        poll_s: float = 5.0,
        max_collections: int = 0,
        gate: StorageGate | None = None,
        filling_of: Callable[[Collection], Filling | None] = lambda _collection: None,
        texts: Callable[[], int] = lambda: FIELD_TEXTS,
        aliases: Aliases | None = None,
        synonyms: Synonyms | None = None,
        functions: AbstractCollection[str] = (),
        broken: Mapping[str, str] = MappingProxyType({}),
        without_vectors: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Describe the view; nothing is known before `refresh`.

        Args:
            registry: stores the definitions.
            num_shards: shards in the cluster; each change is logged to all of them.
            profiles: names of the configured rank profiles.
            poll_s: time between two refreshes without `wake`, in s.
            max_collections: the largest number of collections; 0 for no limit.
            gate: refuses changes when there is no room; None allows all.
            filling_of: the progress of fields that were added to a collection.
            texts: the latest `Collection.texts` that every live worker knows.
            aliases: of the collections; None if there are none.
            synonyms: of the collections; None if there are none.
            functions: those that vector fields may name to embed.
            broken: those of them that cannot be used at present, each with the reason.
            without_vectors: a live worker that cannot index vectors; None if there is none.
        """
        self._aliases = aliases
        self._synonyms = synonyms
        self._functions = frozenset(functions)
        self._broken = broken
        self._filling_of = filling_of
        self._texts = texts
        self._without_vectors = without_vectors
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

        Args:
            name: the collection's, or an alias.

        Raises:
            NotFoundError: it knows no collection of that name.
        """
        collection = self._known.get(name)
        if collection is None:
            alias_of = None if self._aliases is None else self._aliases.collection_of(name)
            collection = None if alias_of is None else self._known.get(alias_of)
        if collection is None:
            raise NotFoundError(f"there is no collection {name!r}")
        return collection

    def real_name(self, name: str) -> str:
        """Name of the collection that an alias stands for; `name` itself if it is no alias.

        Callers are given access by this name. A request that was checked by it has to go on with
        it, since the alias may stand for another collection a moment later.
        """
        if name in self._known or self._aliases is None:
            return name
        return self._aliases.collection_of(name) or name

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
        """Read all definitions, aliases and synonyms.

        Raises:
            RedisUnavailableError: Redis did not answer in time.
        """
        await self._read_definitions_and_aliases()
        if self._synonyms is not None:
            await self._synonyms.refresh(self._known.values())

    async def _read_definitions_and_aliases(self) -> None:
        for _ in range(_MOST_READINGS):
            await self._read_definitions()
            if self._aliases is None:
                return
            # Definitions first: a collection can be removed once no alias stands for it any more,
            # and is still known here then. One that was made in between is read now.
            aliases = await self._aliases.refresh()
            if self._known.keys() >= set(aliases.values()):
                return

    async def _read_definitions(self) -> None:
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
        # The same objects as long as definitions do not change, so that what was found out with one
        # stays known (`gateway.search.checked_queries`).
        before = self._known
        self._known = {
            name: before[name] if before.get(name) == one else one for name, one in known.items()
        }

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
            body: `fields`, `rank_profile`, `language` and `folding`, each optional.

        Raises:
            BadRequestError: names the invalid part of the definition and the reason.
            ConflictError: it exists with another definition, or there are too many collections.
            InsufficientStorageError: a disk or memory runs out.
        """
        if self._gate is not None:
            self._gate.check()
        wanted = define(name, body, texts=self._texts())
        self._check_vectors(wanted)
        await self._check_not_alias(name)
        if wanted.rank_profile not in self._profiles:
            raise BadRequestError(
                "rank_profile", f"{wanted.rank_profile!r} is not a configured profile"
            )
        stored = await self._registry.create_collection(
            wanted, self._num_shards, self._max_collections
        )
        check_same(stored, body)
        self._keep(stored)
        return stored

    async def current(self, name: str) -> Collection:
        """Return the definition as stored now.

        Args:
            name: the collection's, or an alias.

        Raises:
            NotFoundError: there is no collection of that name.
        """
        collection = await self._registry.collection(name)
        if collection is None:
            self._forget(name)
            alias_of = None if self._aliases is None else await self._aliases.stored(name)
            if alias_of is not None:
                collection = await self._registry.collection(alias_of)
        if collection is None:
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
        inferred = collection.with_fields(fields, inferred=fields)
        stored = await self._registry.compare_and_set_fields(inferred, self._num_shards)
        self._keep(stored)
        return stored

    async def add_fields(self, name: str, body: Mapping[str, Any]) -> Collection:
        """Add fields to a collection; the workers fill them from the stored documents.

        Args:
            name: the collection's name.
            body: `fields`, as in the body of `put`.

        Raises:
            BadRequestError: names the invalid part and the reason.
            ConflictError: a field has another type already, or the collection has no fields yet.
            NotFoundError: there is no collection of that name.
            InsufficientStorageError: a disk or memory runs out.
        """
        if self._gate is not None:
            self._gate.check()
        for member in body:
            if member != "fields":
                raise BadRequestError(member, "cannot be changed; only fields can be added")
        if "fields" not in body:
            raise BadRequestError("fields", "is missing")
        collection = await self.current(name)
        # What the workers know.
        self._check_vectors(with_added_fields(collection, body["fields"], self._texts()))
        stored = await self._registry.add_fields(collection, body["fields"], self._num_shards)
        self._keep(stored)
        return stored

    def _check_vectors(self, wanted: Collection) -> None:
        """Refuse vectors that a worker cannot index, and functions that cannot be called.

        One that the settings do not name would be a caller's code. With one that cannot be loaded,
        the shards would wait at the first document, and all other writes behind it.
        """
        for name, field in wanted.vectors.items():
            if field.embedding is None:
                continue
            function, where = field.embedding.function, f"fields.{name}.{EMBED}"
            if function not in self._functions:
                reason = f"{function} is not among the functions of embed.functions"
                raise BadRequestError(where, reason)
            if function in self._broken:
                raise BadRequestError(where, f"cannot be used: {self._broken[function]}")
        if not wanted.vectors or (worker := self._without_vectors()) is None:
            return
        raise BadRequestError(
            f"fields.{next(iter(wanted.vectors))}",
            f"is a vector, which the worker {worker} cannot index: vectors need the extra of that "
            "name there (pip install 'hedgerow[vectors]')",
        )

    async def drop(self, name: str) -> None:
        """Remove a collection with all its documents; the shards delete them in time.

        Raises:
            NotFoundError: there is no collection of that name.
            ConflictError: the name is an alias, or aliases stand for the collection.
            InsufficientStorageError: the disk takes no writes at all, not even this one.
        """
        if self._gate is not None:
            self._gate.check(is_removal=True)
        collection = await self.current(name)
        if collection.name != name:
            raise ConflictError(
                f"{name!r} is an alias of {collection.name!r}; name the collection to remove it"
            )
        if self._aliases is not None and (names := await self._aliases.names_for(name)):
            raise ConflictError(
                f"the alias {names[0]!r} stands for {name!r}; remove the alias first, or make it "
                "stand for another collection"
            )
        await self._registry.drop_collection(collection, self._num_shards)
        self._forget(name)
        if self._synonyms is not None:
            await self._synonyms.forget(collection)

    async def _check_not_alias(self, name: str) -> None:
        if self._aliases is None or (alias_of := await self._aliases.stored(name)) is None:
            return
        if await self._registry.collection(name) is None:
            raise ConflictError(
                f"{name!r} is an alias of {alias_of!r}, so no collection can have that name"
            )

    async def describe(self, name: str) -> dict[str, Any]:
        """Return a collection with its number of documents, as JSON.

        Raises:
            NotFoundError: there is no collection of that name.
        """
        collection = await self.current(name)
        counts = await self._registry.document_counts(collection.uid)
        return {
            **definition_json(collection, self._profiles),
            **counts_json(counts, self._num_shards, self._filling_of(collection)),
        }

    async def list(self) -> tuple[ListedCollection, ...]:
        """Return every collection by name, as by `describe`; encoded, and shared by all callers."""
        return await self._list.result()

    async def _read_list(self) -> tuple[ListedCollection, ...]:
        await self.refresh()
        collections = [self._known[name] for name in sorted(self._known)]
        counts = await self._registry.document_counts_of(c.uid for c in collections)
        filling = {c.uid: found for c in collections if (found := self._filling_of(c))}
        return await self._encoder.encode(collections, counts, filling)

    def _keep(self, collection: Collection) -> None:
        self._known = {**self._known, collection.name: collection}
        for newer in self._newer:
            newer[collection.name] = collection

    def _forget(self, name: str) -> None:
        self._known = {k: v for k, v in self._known.items() if k != name}
        for newer in self._newer:
            newer[name] = None
