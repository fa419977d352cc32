"""The collections of a reindex have the same synonyms and the same expiry, before and after it."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hedgerow.common.collection import Collection, define
from hedgerow.common.errors import ConflictError
from hedgerow.common.state.reindexing import Reindex, ReindexState
from hedgerow.gateway.reindexing.carried_settings import CarriedSettings
from tests.support.virtual_time import run_virtually
from tests.unit.gateway.reindexing.test_policy import BEGUN

DATES: dict[str, Any] = {"fields": {"until": "date", "title": "text"}}
OLD = define("shop-1", {"fields": {"until": "date", "gone": "date"}}, uid=BEGUN.old_uid)
NEW = define("shop-2", DATES, uid=BEGUN.new_uid)
SWITCHED = ReindexState.SWITCHED


class Stores:
    """Redis, as far as it is read and changed here: the registry, the synonyms, the expiry.

    Attributes:
        collections: name → definition.
        texts: collection uid → its synonyms.
        versions: collection uid → how often they were changed.
        fields: collection uid → the field by which its documents expire.
    """

    def __init__(self) -> None:
        self.collections = {OLD.name: OLD, NEW.name: NEW}
        self.texts: dict[str, bytes] = {}
        self.versions: dict[str, int] = {}
        self.fields: dict[str, str] = {}

    async def collection(self, name: str) -> Collection | None:
        """The definition; None if there is none."""
        return self.collections.get(name)

    async def version_of(self, uid: str) -> int:
        """How often the synonyms were changed."""
        return self.versions.get(uid, 0)

    async def texts_of(self, uids: list[str]) -> dict[str, bytes]:
        """The synonyms of those that have some."""
        return {uid: self.texts[uid] for uid in uids if uid in self.texts}

    async def change(self, uid: str, text: bytes) -> int:
        """Replace the synonyms."""
        self.texts.pop(uid, None)
        if text:
            self.texts[uid] = text
        self.versions[uid] = self.versions.get(uid, 0) + 1
        return self.versions[uid]

    async def field_of(self, uid: str) -> str | None:
        """The field by which documents expire."""
        return self.fields.get(uid)

    async def set_field(self, uid: str, field: str) -> None:
        """Have them expire by a field."""
        self.fields[uid] = field

    async def remove(self, uid: str) -> None:
        """Have them expire no longer."""
        self.fields.pop(uid, None)

    def drop(self, collection: Collection) -> None:
        """Remove a collection, and all that is stored for it."""
        del self.collections[collection.name]
        for stored in (self.texts, self.versions, self.fields):
            stored.pop(collection.uid, None)

    def of(self, collection: Collection) -> tuple[bytes | None, str | None]:
        """The synonyms and the expiry of a collection."""
        return self.texts.get(collection.uid), self.fields.get(collection.uid)


def settings_of(stores: Stores) -> CarriedSettings:
    """What carries them."""
    some = cast("Any", stores)
    return CarriedSettings(some, some, some)


async def switch(settings: CarriedSettings, reindex: Reindex) -> Reindex:
    """Have the alias changed."""
    before = await settings.carried(replace(reindex, state=ReindexState.SWITCHING))
    return replace(await settings.with_expiry(before), state=SWITCHED)


async def test_the_new_collection_gets_synonyms_at_once_and_the_expiry_at_the_switch() -> None:
    """And what is changed meanwhile, in either direction, also if it is removed."""
    stores = Stores()
    settings = settings_of(stores)
    await stores.change(OLD.uid, b"first")
    stores.fields[OLD.uid] = "until"
    reindex = await settings.carried(await settings.begun(BEGUN, OLD, NEW))
    assert stores.of(NEW) == (b"first", None)
    await stores.change(OLD.uid, b"second")
    reindex = await settings.carried(reindex)
    assert stores.of(NEW) == (b"second", None)
    reindex = await switch(settings, reindex)
    assert stores.of(NEW) == (b"second", "until")
    await stores.change(NEW.uid, b"third")
    await stores.remove(NEW.uid)
    reindex = await settings.carried(reindex)
    assert stores.of(OLD) == stores.of(NEW) == (b"third", None)
    await stores.change(OLD.uid, b"")  # by a gateway that has not heard of the switch
    stores.fields[OLD.uid] = "until"
    reindex = await settings.carried(reindex)
    assert stores.of(OLD) == stores.of(NEW) == (None, "until")
    assert await settings.carried(reindex) == reindex


async def test_what_was_removed_with_the_old_collection_stays_in_the_new_one() -> None:
    """A collection that was dropped has no synonyms and no expiry, which is no change of them."""
    stores = Stores()
    settings = settings_of(stores)
    await stores.change(OLD.uid, b"first")
    stores.fields[OLD.uid] = "until"
    reindex = await switch(settings, await settings.begun(BEGUN, OLD, NEW))
    stores.drop(OLD)
    assert await settings.carried(reindex) == reindex
    assert stores.of(NEW) == (b"first", "until")


async def test_synonyms_of_its_own_stay() -> None:
    """Those that the new collection had when the reindex began are what is wanted."""
    stores = Stores()
    settings = settings_of(stores)
    await stores.change(OLD.uid, b"old")
    await stores.change(NEW.uid, b"own")
    reindex = await switch(settings, await settings.begun(BEGUN, OLD, NEW))
    await stores.change(OLD.uid, b"older")
    await stores.change(NEW.uid, b"newer")
    await settings.carried(reindex)
    assert (stores.of(OLD)[0], stores.of(NEW)[0]) == (b"older", b"newer")


async def test_an_expiry_that_the_new_collection_cannot_have_is_refused() -> None:
    """The reason names the field; an expiry of its own would delete what the old one has."""
    stores = Stores()
    settings = settings_of(stores)
    stores.fields[OLD.uid] = "gone"
    with pytest.raises(ConflictError, match="gone, which is no date field of shop-2"):
        await settings.begun(BEGUN, OLD, NEW)
    stores.fields = {NEW.uid: "until"}
    with pytest.raises(ConflictError, match="shop-2 has an expiry of its own"):
        await settings.begun(BEGUN, OLD, NEW)
    assert "of its own" in await settings.obstacle(OLD, NEW)


async def test_the_old_collection_stops_expiring_by_what_the_new_one_does_not() -> None:
    """What it deletes is deleted in the new one: it must not go on by another field."""
    stores = Stores()
    stores.collections[NEW.name] = new = define(
        "shop-2", {"fields": {"until": "date", "ends": "date"}}, uid=NEW.uid
    )
    settings = settings_of(stores)
    stores.fields[OLD.uid] = "until"
    reindex = await switch(settings, await settings.begun(BEGUN, OLD, new))
    stores.fields[NEW.uid] = "ends"  # which the old one lacks
    reindex = await settings.carried(reindex)
    assert (stores.of(OLD)[1], stores.of(NEW)[1]) == (None, "ends")
    stores.fields[OLD.uid] = "gone"  # which the new one lacks
    reindex = await settings.carried(reindex)
    assert (stores.of(OLD)[1], stores.of(NEW)[1]) == (None, "ends")
    assert await settings.carried(reindex) == reindex


CHANGES = st.sampled_from(["old", "new", "no old", "no new", "look", "crash", "switch"])


@given(st.lists(CHANGES, max_size=12))
def test_both_agree_after_any_changes_and_crashes(changes: list[str]) -> None:
    """A gateway that dies after it has carried something over has it carried over again.

    Before the switch, the new collection has what the old one has, unless it was changed itself.
    """

    async def scenario() -> None:
        stores = Stores()
        settings = settings_of(stores)
        reindex = await settings.begun(BEGUN, OLD, NEW)
        is_foreign = False
        for number, change in enumerate(changes):
            uid = OLD.uid if "old" in change else NEW.uid
            if change == "look":
                reindex = await settings.carried(reindex)
            elif change == "crash":
                await settings.carried(reindex)
            elif change == "switch" and reindex.state is not SWITCHED:
                reindex = await switch(settings, reindex)
            elif change in ("old", "new", "no old", "no new"):
                if uid == NEW.uid and reindex.state is not SWITCHED:
                    is_foreign = True
                await stores.change(uid, b"" if change.startswith("no") else b"%d" % number)
        reindex = await settings.carried(reindex)
        if reindex.state is SWITCHED or not is_foreign:
            assert stores.of(OLD)[0] == stores.of(NEW)[0]
        assert await settings.carried(reindex) == reindex

    run_virtually(scenario())
