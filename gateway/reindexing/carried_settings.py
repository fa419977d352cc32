"""What a collection has beside its documents: its synonyms, and the field by which they expire.

While the new collection follows the old one, it gets the old one's synonyms as they change, unless
it had some of its own when the reindex began. It gets the expiry just before the alias changes:
earlier, it would delete documents that the old one still has, and their numbers would differ. From
the switch on, the old collection gets what is changed of the new one. There too the expiry has to
agree: a document that the old one deletes is deleted in the new one.

What both have agreed on is kept in the reindex. A change is carried over before that is noted, so
that a gateway which dies in between has another one carry it over again.
"""

from typing import Final

from msgspec.structs import replace

from hedgerow.common.collection import Collection
from hedgerow.common.errors import ConflictError
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.state.expiry import ExpiryStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.reindexing import Reindex, ReindexState
from hedgerow.common.state.synonyms import SynonymStore

_FOLLOWING: Final = frozenset({ReindexState.COPYING, ReindexState.SWITCHING, ReindexState.SWITCHED})


class CarriedSettings:
    """Carries settings from one collection of a reindex to the other.

    Every method raises RedisUnavailableError if Redis does not answer in time.
    """

    def __init__(self, registry: Registry, synonyms: SynonymStore, expiry: ExpiryStore) -> None:
        """Carry what these stores have."""
        self._registry = registry
        self._synonyms = synonyms
        self._expiry = expiry

    async def begun(self, reindex: Reindex, old: Collection, new: Collection) -> Reindex:
        """The reindex that is to begin, with the synonyms on which both collections agree.

        Raises:
            ConflictError: the new collection cannot have the expiry of the old one.
        """
        if await self._expiry.field_of(new.uid):
            raise ConflictError(_own_expiry(old, new))
        if reason := await self.obstacle(old, new):
            raise ConflictError(reason)
        has_own = bool(await self._synonyms.texts_of([new.uid]))
        # Nothing has been carried over yet: what the old one has is a change.
        agreed = None if has_own else (0, await self._synonyms.version_of(new.uid))
        return replace(reindex, synonyms=agreed, expiry=("", ""))

    async def obstacle(self, old: Collection, new: Collection) -> str:
        """Why the new collection cannot have the old one's expiry before the switch; "" if it can.

        Args:
            old: the definition of the old collection.
            new: that of the new one.
        """
        field, own = [await self._expiry.field_of(one.uid) or "" for one in (old, new)]
        if own and own != field:
            return _own_expiry(old, new)
        if not _can_expire(new, field):
            return (
                f"the documents of {old.name} expire by {field}, which is no date field of "
                f"{new.name}"
            )
        return ""

    async def carried(self, reindex: Reindex) -> Reindex:
        """Carry over what has changed; returns the reindex with what both collections agree on."""
        if reindex.state not in _FOLLOWING:
            return reindex
        carried = await self._with_synonyms(reindex)
        if carried.state is ReindexState.SWITCHED:
            carried = await self.with_expiry(carried)
        return carried

    async def _with_synonyms(self, reindex: Reindex) -> Reindex:
        if reindex.synonyms is None:
            return reindex
        uids = reindex.old_uid, reindex.new_uid
        agreed = list(reindex.synonyms)
        now = [await self._synonyms.version_of(uid) for uid in uids]
        # Those of a collection that was dropped are gone, and so is their version.
        changed = [version > before for version, before in zip(now, agreed, strict=True)]
        if reindex.state is ReindexState.SWITCHED and changed[1]:
            source, target = 1, 0
        elif changed[0]:
            source, target = 0, 1
        else:
            return reindex
        if await self._definitions(reindex) is None:
            return reindex
        text = (await self._synonyms.texts_of([uids[source]])).get(uids[source], b"")
        agreed[source] = now[source]
        agreed[target] = await self._synonyms.change(uids[target], text)
        return replace(reindex, synonyms=(agreed[0], agreed[1]))

    async def with_expiry(self, reindex: Reindex) -> Reindex:
        """As `carried`, of the expiry, from the moment before the alias changes."""
        if reindex.expiry is None:
            return reindex
        uids = reindex.old_uid, reindex.new_uid
        of_old, of_new = [await self._expiry.field_of(uid) or "" for uid in uids]
        if (of_old, of_new) == reindex.expiry:
            return reindex
        # After the fields: those of a collection that is there now were not forgotten.
        if (found := await self._definitions(reindex)) is None:
            return reindex
        old, new = found
        is_changed = of_new != reindex.expiry[1]
        if (reindex.state is ReindexState.SWITCHED and is_changed) or not _can_expire(new, of_old):
            of_old = of_new if _can_expire(old, of_new) else ""
            await self._set(old, of_old)
        else:
            of_new = of_old
            await self._set(new, of_new)
        return replace(reindex, expiry=(of_old, of_new))

    async def _set(self, collection: Collection, field: str) -> None:
        if field:
            await self._expiry.set_field(collection.uid, field)
        else:
            await self._expiry.remove(collection.uid)

    async def _definitions(self, reindex: Reindex) -> tuple[Collection, Collection] | None:
        """Both collections; None if one of them was removed."""
        old = await self._registry.collection(reindex.old)
        new = await self._registry.collection(reindex.new)
        if old is None or new is None:
            return None
        return (old, new) if (old.uid, new.uid) == (reindex.old_uid, reindex.new_uid) else None


def _own_expiry(old: Collection, new: Collection) -> str:
    return (
        f"{new.name} has an expiry of its own, but gets that of {old.name}: remove it, and set it "
        "after the switch"
    )


def _can_expire(collection: Collection, field: str) -> bool:
    """Whether a collection's documents can expire by a field; "" for none."""
    return not field or collection.type_of(field) is FieldType.DATE
