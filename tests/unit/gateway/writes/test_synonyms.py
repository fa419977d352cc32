"""Synonyms: what is refused, and that each gateway follows their changes."""

from typing import Any

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import BadBodyError, BadRequestError
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.gateway.shapes.synonyms import SynonymsBody
from hedgerow.gateway.writes.synonyms import Synonyms

FILMS, SHOPS = define("films", {}, uid="f"), define("shops", {}, uid="s")
LIMITS = LimitSettings(max_synonyms=6, max_synonym_group=3, max_synonym_words=2)


class FakeStore:
    """The synonyms of Redis in dicts; counts the texts that were read."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}
        self.counts: dict[str, int] = {}
        self.num_read = 0

    async def versions(self) -> dict[str, int]:
        """All versions."""
        return dict(self.counts)

    async def version_of(self, uid: str) -> int:
        """One version."""
        return self.counts.get(uid, 0)

    async def texts_of(self, uids: list[str]) -> dict[str, bytes]:
        """Those of some collections."""
        self.num_read += len(uids)
        return {uid: self.texts[uid] for uid in uids if uid in self.texts}

    async def change(self, uid: str, text: bytes) -> int:
        """Replace or remove."""
        self.texts.pop(uid, None)
        if text:
            self.texts[uid] = text
        self.counts[uid] = self.counts.get(uid, 0) + 1
        return self.counts[uid]


def view_of(store: Any) -> Synonyms:
    """What one gateway knows."""
    return Synonyms(store, LIMITS)


def also(view: Synonyms, uid: str, word: str) -> tuple[str, ...]:
    """What a word finds as well."""
    rules = view.rules_of(uid)
    return () if rules is None else rules.also(word)


async def test_each_gateway_reads_what_has_changed_and_nothing_else() -> None:
    """Another gateway's change is known after a refresh; so is a removal, and what comes later."""
    store = FakeStore()
    here, there = view_of(store), view_of(store)
    await here.change(FILMS, SynonymsBody([["film", "movie"]], {"star": ["actor"]}))
    await here.change(SHOPS, SynonymsBody([["shop", "store"]]))
    await there.refresh([FILMS, SHOPS])
    assert (also(there, "f", "film"), also(there, "f", "star")) == (("movie",), ("actor",))
    assert also(there, "f", "actor") == ()
    num_read = store.num_read
    await here.change(SHOPS, SynonymsBody())
    await there.refresh([FILMS, SHOPS])
    assert store.num_read == num_read + 1
    assert (also(there, "f", "film"), there.rules_of("s")) == (("movie",), None)
    await here.change(SHOPS, SynonymsBody([["shop", "market"]]))
    await there.refresh([FILMS, SHOPS])
    assert also(there, "s", "shop") == ("market",)
    await there.refresh([SHOPS])  # the other was dropped
    assert there.rules_of("f") is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (SynonymsBody([["film"]]), "groups[0]"),
        (SynonymsBody([["a", "b"], ["a", "b", "c", "d"]]), "groups[1]"),
        (SynonymsBody([["film", "!"]]), "groups[0][1]"),
        (SynonymsBody([["film", "a b c"]]), "groups[0][1]"),
        (SynonymsBody([["film", "x" * 201]]), "groups[0][1]"),
        (SynonymsBody(one_way={"film": []}), "one_way['film']"),
        (SynonymsBody(one_way={"?": ["film"]}), "one_way['?'][0]"),
    ],
)
async def test_what_is_wrong_is_named(body: SynonymsBody, field: str) -> None:
    """And nothing is stored."""
    store = FakeStore()
    with pytest.raises(BadBodyError) as refused:
        await view_of(store).change(FILMS, body)
    assert [name for name, _ in refused.value.errors] == [field]
    assert not store.counts


async def test_there_are_at_most_as_many_as_the_limit_allows() -> None:
    """The texts of all groups and rules count together."""
    groups = [["a", "b", "c"], ["d", "e"]]
    with pytest.raises(BadRequestError, match="7 texts"):
        await view_of(FakeStore()).change(FILMS, SynonymsBody(groups, {"f": ["g"]}))
