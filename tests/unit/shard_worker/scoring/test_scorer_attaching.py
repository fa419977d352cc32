"""The documents that a scorer sends along with what it found, from a real store and index."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.collection import define
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES, RankProfile
from hedgerow.common.wire.messages import SearchPayload, pack_body, unpack_search_body
from hedgerow.shard_worker.scoring.ranking import Budget
from hedgerow.shard_worker.scoring.scorer import Scorer, ScorerConfig, make_scorer
from hedgerow.shard_worker.storage.store import Store
from tests.unit.support.real_shards import RealShards
from tests.unit.support.shards import EndlessBudget, OneShard

DOCUMENTS: list[dict[str, object]] = [
    {"id": "a", "title": "wing wing wing", "year": 1990},
    {"id": "b", "title": "wing wing and a tail"},
    {"id": "c", "title": "wing with a long, long tail", "year": 1970},
]
PROFILES = {**BUILT_IN_PROFILES, "enriched": RankProfile(enrich="my:enrich")}
BODIES = [json.dumps(document).encode() for document in DOCUMENTS]


@pytest.fixture
def shard(tmp_path: Path) -> OneShard:
    """Three documents, which "wing" finds in this order."""
    return OneShard.of(tmp_path, {"title": "text", "year": "integer"}, DOCUMENTS)


class SpentBudget(EndlessBudget):
    """A budget that runs out after some questions."""

    def __init__(self, num_questions: int) -> None:
        self._left = num_questions

    def expired(self) -> bool:
        """Whether it has."""
        self._left -= 1
        return self._left < 0


def attached(
    shard: OneShard, *wanted: object, profile: str = "bm25", budget: Budget | None = None
) -> Sequence[bytes]:
    """What comes with a search for "wing"."""
    score = make_scorer(ScorerConfig(str(shard.data), PROFILES))
    payload = pack_body(SearchPayload("u1", "wing", 10, profile, "", False))
    work = (0, shard.open().generation, payload, *wanted)
    try:
        found = unpack_search_body(score(work, budget or EndlessBudget()))
    finally:
        score.close()
    assert found.ids == ["a", "b", "c"]
    return found.attached


def test_the_best_documents_come_as_they_are_stored(shard: OneShard) -> None:
    """As many as are asked for, in the order of the hits; none where none are asked for."""
    assert attached(shard, 2, 1000, None) == BODIES[:2]
    assert attached(shard, 9, 1000, None) == BODIES
    assert not attached(shard)


def test_only_wanted_fields_come(shard: OneShard) -> None:
    """They come in the order asked for; a field that a document lacks is left out."""
    found = attached(shard, 3, 1000, ("year", "id"))
    assert [json.loads(one) for one in found] == [
        {"year": 1990, "id": "a"},
        {"id": "b"},
        {"year": 1970, "id": "c"},
    ]


def test_they_end_with_the_first_that_has_no_room(shard: OneShard) -> None:
    """Even if a later one would have room, the rest is left to the fetch."""
    assert attached(shard, 3, len(BODIES[0]) + len(BODIES[1]), None) == BODIES[:2]
    assert attached(shard, 3, len(BODIES[0]) - 1, None) == ()


def test_a_profile_that_enriches_sends_none(shard: OneShard) -> None:
    """Its documents come by the fetch, in whose threads `enrich` runs, whatever a gateway asks."""
    assert not attached(shard, 3, 1000, None, profile="enriched")


def test_a_store_that_cannot_be_read_costs_no_hits(shard: OneShard) -> None:
    """The search is answered; the fetch is left to say what is wrong."""
    (shard.folder / "store.sqlite").write_bytes(b"not a database, but long enough to be one" * 99)
    assert not attached(shard, 3, 1000, None)


def test_a_document_that_is_gone_ends_them(shard: OneShard) -> None:
    """It was deleted from the store, and not from the index yet: the fetch says so."""
    store = Store.open(shard.folder / "store.sqlite")
    store.apply("2-0", documents={"u1": {"b": None}})
    store.close()
    assert attached(shard, 3, 1000, None) == BODIES[:1]


@pytest.mark.parametrize("k", [1, 4, 10, 50])
def test_shards_that_are_searched_together_send_the_winners_alone(tmp_path: Path, k: int) -> None:
    """Their documents are those of the best hits of all, each with the shard that found it."""
    collection = define("things", {"fields": {"title": "text"}}, uid="u1")
    shards = RealShards(tmp_path, collection, 3)
    documents = [
        {"id": f"d{number}", "title": "wing " * (1 + number % 5) + "tail " * (number % 7)}
        for number in range(40)
    ]
    shards.put(documents)
    score = make_scorer(ScorerConfig(str(tmp_path), PROFILES))
    payload = pack_body(SearchPayload("u1", "wing", k, "bm25", "", False))
    work = [(shard, 0, payload, k, 60_000, None, (), k) for shard in range(3)]
    found = [unpack_search_body(made()) for made in [begun(score, one) for one in work]]
    score.close()
    rows = [
        (-score, one) for body in found for score, one in zip(body.scores, body.ids, strict=True)
    ]
    winners = {one for _, one in sorted(rows)[:k]}
    stored = {one["id"]: json.dumps(one).encode() for one in documents}
    for body in found:
        assert list(body.attached) == [stored[one] for one in body.ids if one in winners]


def test_searches_that_are_sent_together_get_their_own_documents(tmp_path: Path) -> None:
    """Nor do they compare their hits, though they are attached one after the other."""
    shard = OneShard.of(tmp_path, {"title": "text", "year": "integer"}, [])
    shard.put(DOCUMENTS, beside=True)
    score = make_scorer(ScorerConfig(str(shard.data), PROFILES))
    made = [
        begun(score, (0, 0, pack_body(SearchPayload("u1", query, 10, "bm25", "", False)), *wanted))
        for query, wanted in (
            ("wing", (2, 1000, None, (), 10)),
            ("long", (9, 1000, ("year",), (), 10)),
            ("absent tail", (9, 1000, None, (), 1)),
        )
    ]
    wing, long, tail = [list(unpack_search_body(one()).attached) for one in made]
    score.close()
    assert wing == BODIES[:2]
    assert [json.loads(one) for one in long] == [{"year": 1970}]
    assert tail == [BODIES[1]]


def begun(score: Scorer, work: tuple[object, ...]) -> Callable[[], bytes]:
    """What packs the result of a search that a scorer has begun."""
    made = score.search(work, EndlessBudget())
    assert callable(made)
    return made


def model(
    stored: dict[str, bytes], ids: Sequence[str], max_bytes: int, num_in_time: int
) -> list[bytes]:
    """What `Store.leading` is to return."""
    taken: list[bytes] = []
    for one in ids[:num_in_time]:
        if one not in stored or len(b"".join(taken)) + len(stored[one]) > max_bytes:
            break
        taken.append(stored[one])
    return taken


@given(data=st.data())
def test_leading_documents_are_those_of_a_model(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever is stored, wanted and allowed, by bytes and by time."""
    ids = st.text("abé0", min_size=1, max_size=2)
    stored = data.draw(st.dictionaries(ids, st.binary(max_size=6), max_size=8))
    wanted = data.draw(st.lists(ids | st.sampled_from(sorted(stored) or ["a"]), max_size=8))
    max_bytes, num_in_time = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 8))
    store = Store.open(tmp_path_factory.mktemp("s") / "store.sqlite", mapped_bytes=1 << 20)
    rest = iter([False] * num_in_time)
    changes: dict[str, bytes | None] = dict(stored)
    try:
        store.apply("1-0", definitions={"u": "{}"}, documents={"u": changes})
        found = store.leading("u", wanted, max_bytes, lambda: next(rest, True))
        assert found == model(stored, wanted, max_bytes, num_in_time)
        assert store.leading("nowhere", wanted, max_bytes, lambda: False) == []
        # No transaction is left open: another may begin, and sees what was written since.
        store.apply("2-0", documents={"u": {"new": b"1"}})
        assert store.leading("u", ["new"], 1, lambda: False) == [b"1"]
    finally:
        store.close()


def test_no_more_is_read_once_the_budget_is_spent(shard: OneShard) -> None:
    """What was read by then goes along: the reply may still be in time."""
    # The first question is the one after the first phase.
    assert attached(shard, 3, 1000, None, budget=SpentBudget(2)) == BODIES[:1]
