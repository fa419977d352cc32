"""Aliases of collections: a copy for the hot path, and changes."""

from collections.abc import Mapping

from hedgerow.common.collection import check_name
from hedgerow.common.errors import BadBodyError, BadRequestError, NotFoundError
from hedgerow.common.state.aliases import AliasStore
from hedgerow.gateway.shapes.alias import AliasChange
from hedgerow.gateway.writes.storage_gate import StorageGate


class Aliases:
    """The aliases that this gateway knows, and changes of those that are stored.

    `Collections.refresh` reads them again together with the collections, so that both are of about
    the same time.
    """

    def __init__(
        self, store: AliasStore, max_aliases: int = 256, gate: StorageGate | None = None
    ) -> None:
        """Know none yet.

        Args:
            store: keeps them in Redis.
            max_aliases: how many there may be.
            gate: refuses changes when there is no room; None allows all.
        """
        self._store = store
        self._max_aliases = max_aliases
        self._gate = gate
        self._known: Mapping[str, str] = {}
        self._num_begun = 0
        self._num_taken = 0  # the reading that `_known` is from

    def collection_of(self, name: str) -> str | None:
        """Name of the collection that an alias stands for; None if it is no alias."""
        return self._known.get(name)

    def known(self) -> Mapping[str, str]:
        """Alias → name of its collection, as this gateway knows them."""
        return self._known

    async def refresh(self) -> Mapping[str, str]:
        """Read all aliases; returns them.

        Raises:
            RedisUnavailableError: Redis did not answer in time.
        """
        self._num_begun += 1
        number = self._num_begun
        found = await self._store.all()
        if number > self._num_taken:  # one that began later has not been faster
            self._known, self._num_taken = found, number
        return found

    async def stored(self, name: str) -> str | None:
        """Name of the collection that an alias stands for now; None if it is no alias."""
        return await self._store.collection_of(name)

    async def names_for(self, collection: str) -> list[str]:
        """The aliases that stand for a collection now."""
        return sorted(alias for alias, name in (await self.refresh()).items() if name == collection)

    async def change(self, changes: list[AliasChange]) -> None:
        """Make several changes in one step: all, or none.

        Args:
            changes: at least one, each of another alias.

        Raises:
            BadRequestError: names the invalid part and the reason.
            ConflictError: a collection has the name of an alias, or there would be too many.
            NotFoundError: there is no such collection, or an alias to be removed does not exist.
            InsufficientStorageError: a disk or memory runs out.
        """
        _check(changes, self._max_aliases)
        wanted = {change.alias: change.collection for change in changes}
        if self._gate is not None:
            self._gate.check(is_removal=not any(wanted.values()))
        there = await self._store.all()
        for alias, collection in wanted.items():
            if collection is None and alias not in there:
                raise NotFoundError(f"there is no alias {alias!r}")
        await self._store.change(wanted, self._max_aliases)
        await self.refresh()


def _check(changes: list[AliasChange], most: int) -> None:
    if not 1 <= len(changes) <= most:
        raise BadRequestError("changes", f"should have 1 to {most} changes")
    faults = []
    seen: set[str] = set()
    for number, change in enumerate(changes):
        where = f"changes[{number}]"
        try:
            check_name(change.alias, f"{where}.alias")
            if change.collection is not None:
                check_name(change.collection, f"{where}.collection")
        except BadRequestError as error:
            faults.append((error.field, error.reason))
        if change.alias in seen:
            faults.append((f"{where}.alias", "is changed more than once"))
        seen.add(change.alias)
    if faults:
        raise BadBodyError(faults)
