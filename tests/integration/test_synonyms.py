"""Synonyms over a real server: every gateway follows their changes."""

import pytest

from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.state.synonyms import SynonymStore
from hedgerow.gateway.shapes.synonyms import SynonymsAnswer, SynonymsBody
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.synonym_changes import SynonymChanges
from hedgerow.gateway.writes.synonyms import Synonyms
from tests.integration.support import write_path
from tests.integration.support.write_path import BOOKS, NUM_SHARDS, WritePath

pytestmark = pytest.mark.integration

path = write_path.path


def gateway_of(path: WritePath) -> tuple[Synonyms, SynonymChanges, Collections]:
    """What one gateway knows and changes."""
    known = Synonyms(SynonymStore(path.control, path.keys), LimitSettings())
    profiles = path.settings.rank_profiles
    collections = Collections(path.registry, NUM_SHARDS, profiles, synonyms=known)
    return known, SynonymChanges(known, collections), collections


async def test_a_change_is_known_here_at_once_and_elsewhere_after_a_refresh(
    path: WritePath,
) -> None:
    """The version tells the other gateway; what a dropped collection had is gone."""
    here, changes, _ = gateway_of(path)
    there, _, others = gateway_of(path)
    uid = (await path.collections.put("books", BOOKS)).uid
    assert await changes.get("books") == SynonymsAnswer(0, [], {})
    answer = await changes.put("books", SynonymsBody([["novel", "roman"]], {"poem": ["verse"]}))
    assert answer == await changes.get("books")
    assert answer.version == 1
    await others.refresh()
    for known in (here, there):
        rules = known.rules_of(uid)
        assert rules is not None
        assert (rules.also("novel"), rules.also("verse")) == (("roman",), ())
    await changes.remove("books")
    assert await changes.get("books") == SynonymsAnswer(2, [], {})
    await others.refresh()
    assert here.rules_of(uid) is there.rules_of(uid) is None
    await changes.put("books", SynonymsBody([["novel", "roman"]]))
    await others.drop("books")
    assert await path.control.execute("HLEN", path.keys.synonyms) == 0
    assert await path.control.execute("HLEN", path.keys.synonym_versions) == 0
