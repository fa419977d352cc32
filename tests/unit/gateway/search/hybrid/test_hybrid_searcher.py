"""The walk of a hybrid search over scripted shards, in virtual time."""

import asyncio
import struct
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import (
    BadRequestError,
    EmbeddingError,
    ExpiredError,
    InsufficientCoverageError,
    OverloadedError,
    UnavailableError,
)
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES, RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.common.wire.messages import Kind
from hedgerow.gateway.http.problems import coverage_status
from hedgerow.gateway.search.hybrid.hybrid_searcher import HybridSearcher
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.search_settings import SearchSettings
from hedgerow.gateway.shapes.answer import SearchAnswer
from hedgerow.gateway.shapes.collection import Filling
from hedgerow.gateway.shapes.facets import Facet
from hedgerow.gateway.shapes.hybrid import Hybrid
from hedgerow.gateway.shapes.vector import VectorQuery
from hedgerow.gateway.views.json_bytes import encode_shape
from tests.support.virtual_time import run_virtually
from tests.unit.support.hybrid_shards import HybridShards
from tests.unit.support.scripted import Script
from tests.unit.support.searchers import FixedView, searcher_over

VECTOR_FIELD = {"type": "vector", "dimensions": 2, "embed": "models:embed"}
COLLECTION = define("things", {"fields": {"title": "text", "v": VECTOR_FIELD}})
PROFILES = {
    **BUILT_IN_PROFILES,
    "ranked": RankProfile(second_phase="some:function", candidates=3),
    "ranks_one": RankProfile(second_phase="some:function", candidates=1),
}
COUNTS = [10, 10]

TEXT = {
    0: Script(hits=(("a", 9.0), ("b", 4.0)), fetch={one: {"title": one} for one in "abce"}),
    1: Script(hits=(("d", 6.0),), fetch={one: {"title": one} for one in "df"}),
}
VECTOR = {0: Script(hits=(("b", 0.9), ("e", 0.2))), 1: Script(hits=(("f", 0.5),))}
SCORED = {0: Script(hits=(("a", 1.0), ("b", 7.0))), 1: Script()}
SILENT = Script(delays_s=())


class Embedder:
    """Embeds in no time, or fails.

    Attributes:
        texts: what was embedded.
    """

    def __init__(self, error: Exception | None = None, took_s: float = 0.0, size: int = 2) -> None:
        self.texts: list[str] = []
        self._error, self._took_s, self._size = error, took_s, size

    async def vector(self, function: str, text: str, party: str, deadline: float) -> bytes:
        """As a `QueryEmbedder`."""
        left_s = deadline - asyncio.get_running_loop().time()
        await asyncio.sleep(min(self._took_s, left_s))
        if self._took_s > left_s:
            raise ExpiredError("the query's text was not embedded in time")
        if self._error is not None:
            raise self._error
        self.texts.append(text)
        return struct.pack("<f", 1.0) * self._size


class Hybrids:
    """A hybrid searcher over two shards.

    Attributes:
        shards: the shards.
        embedder: makes the vectors.
        took_s: how long the last search has taken.
    """

    def __init__(self, **legs: dict[int, Script]) -> None:
        """Shards with scripts; those of a leg that is not named are the usual ones."""
        usual = {"text": TEXT, "vector": VECTOR, "second_phase": SCORED}
        self.shards = HybridShards(legs={**usual, **legs})
        self.embedder = Embedder()
        self.admission: AdmissionSettings | None = None
        self.took_s = 0.0
        self.collection = COLLECTION
        self.filling: Filling | None = None

    def search(self, **members: Any) -> SearchResult:
        """Search; by default hybrid, without fields."""
        members["hybrid"] = msgspec.convert(members.get("hybrid", {}), Hybrid)
        return self.ask(SearchQuery("things", **{"query": "red", "fields": False, **members}))

    def ask(self, query: SearchQuery) -> SearchResult:
        """Search."""

        async def main() -> SearchResult:
            searcher = searcher_over(self.shards, COUNTS, admission=self.admission)
            searcher.use_profiles(PROFILES)
            assert isinstance(searcher._view, FixedView)
            searcher._view.filling = self.filling
            hybrids: Any = HybridSearcher(
                searcher,
                self.embedder,  # type: ignore[arg-type]
                FixedView(COUNTS),
                searcher_settings(),
                {"models:embed"},
            )
            began = asyncio.get_running_loop().time()
            try:
                found: SearchResult = await hybrids.search(query, self.collection)
            finally:
                self.took_s = asyncio.get_running_loop().time() - began
            return found

        return run_virtually(main())


def searcher_settings() -> SearchSettings:
    """The default settings, with these profiles."""
    return SearchSettings.of(Settings())._replace(profiles=PROFILES)


def test_both_legs_are_fused_over_all_shards() -> None:
    """By the ranks over both shards; each hit has its places, and each leg says how it went."""
    found = Hybrids().search(hybrid={"method": "rrf"})
    assert [hit.id for hit in found.hits] == ["b", "a", "d", "f", "e"]
    best = found.hits[0]
    assert best.score == pytest.approx(1 / 63 + 1 / 61)
    assert best.legs is not msgspec.UNSET
    assert {name: one.rank for name, one in best.legs.items()} == {"text": 3, "vector": 1}
    assert found.legs is not msgspec.UNSET
    assert list(found.legs) == ["text", "vector"]
    assert [leg.candidates for leg in found.legs.values()] == [3, 3]
    assert found.coverage.is_full
    assert (found.total_hits.value, found.total_hits.relation) == (5, "gte")
    answer = msgspec.json.decode(encode_shape(found.answer()), type=SearchAnswer)
    assert answer.legs is not msgspec.UNSET
    assert answer.legs["vector"].coverage.fraction == 1
    assert answer.hits[0].legs is not msgspec.UNSET


def test_by_default_the_scores_are_fused() -> None:
    """Those of words from 0, cosines from -1, and the vector with three times the weight."""
    found = Hybrids().search()
    scores = {hit.id: hit.score for hit in found.hits}
    last = 1.2 / 1.9  # of the last hit by vector, as is that of documents that it has not found
    assert scores == pytest.approx(
        {
            "a": 1 + 3 * last,
            "b": 4 / 9 + 3,
            "d": 6 / 9 + 3 * last,
            "e": 3 * last,
            "f": 3 * 1.5 / 1.9,
        }
    )


def test_the_text_of_the_query_is_embedded_for_the_leg_by_vector() -> None:
    """A vector that the caller has sent is taken as it is."""
    hybrids = Hybrids()
    hybrids.search()
    assert hybrids.embedder.texts == ["red"]
    options = hybrids.shards.payloads["vector"][0].options
    assert options is not None
    assert options.vector is not None
    assert options.vector.value == struct.pack("<2f", 1, 1)
    hybrids.search(vector=VectorQuery("v", [0.5, 0.5]))
    assert hybrids.embedder.texts == ["red"]


def test_the_legs_run_at_the_same_time() -> None:
    """The search takes as long as the slower leg, with the time that its vector took."""
    hybrids = Hybrids(text={shard: Script(delays_s=(0.1,)) for shard in (0, 1)})
    hybrids.embedder = Embedder(took_s=0.05)
    hybrids.search()
    assert hybrids.took_s == pytest.approx(0.1, abs=0.005)


def test_offset_and_fields_apply_to_the_fused_ranking() -> None:
    """Only the hits of the page are fetched, from the shards that have them."""
    found = Hybrids().search(offset=1, k=2, fields=("title",))
    assert [(hit.id, hit.fields) for hit in found.hits] == [
        ("a", {"title": "a"}),
        ("d", {"title": "d"}),
    ]
    assert found.fetch is not None
    assert found.fetch.fetched == 2


def test_a_shard_that_is_late_in_one_leg_counts_as_missing_in_the_answer() -> None:
    """The leg has its own coverage; the answer has what both have searched."""
    found = Hybrids(vector={0: VECTOR[0], 1: SILENT}).search()
    assert found.legs is not msgspec.UNSET
    assert found.legs["text"].coverage.is_full
    assert found.legs["vector"].coverage.fraction == 0.5
    assert found.coverage.fraction == 0.5
    assert [(one.shard, one.reason) for one in found.detail] == [
        (1, "vector: no reply by the deadline")
    ]
    assert {hit.id for hit in found.hits} == set("abde")


@pytest.mark.parametrize(
    ("embedder", "outcome"),
    [
        (Embedder(EmbeddingError("models:embed raised ValueError: no")), "failed"),
        (Embedder(took_s=10), "timed_out"),
        (Embedder(size=3), "failed"),
    ],
)
def test_without_a_vector_the_leg_is_left_out_with_its_reason(
    embedder: Embedder, outcome: str
) -> None:
    """The answer is that of the other leg, by the deadline, and covers nothing in both."""
    hybrids = Hybrids()
    hybrids.embedder = embedder
    found = hybrids.search()
    assert hybrids.took_s <= 0.3
    assert [hit.id for hit in found.hits] == ["a", "d", "b"]
    assert found.legs is not msgspec.UNSET
    assert "embed" in str(found.legs["vector"].left_out) or "dimensions" in str(
        found.legs["vector"].left_out
    )
    assert found.legs["text"].left_out is msgspec.UNSET
    assert found.coverage.fraction == 0
    assert found.coverage.degraded == {outcome: 2}
    assert any("left out" in warning for warning in found.warnings)


def test_no_breaker_hears_of_a_function_that_fails() -> None:
    """No shard was asked, so none has failed."""
    hybrids = Hybrids()
    hybrids.embedder = Embedder(EmbeddingError("broken"))
    for _ in range(3):
        hybrids.search()
    assert "vector" not in hybrids.shards.payloads


@pytest.mark.parametrize(
    "demanded",
    [{"minimum_coverage": 0.1}, {"hybrid": {"minimum_coverage": {"vector": 0.1}}}],
)
def test_a_caller_may_demand_a_leg(demanded: dict[str, Any]) -> None:
    """A coverage above 0, of the answer or of the leg, refuses an answer without it."""
    hybrids = Hybrids()
    hybrids.embedder = Embedder(EmbeddingError("broken"))
    with pytest.raises(InsufficientCoverageError, match="broken") as caught:
        hybrids.search(**demanded)
    assert [hit.id for hit in caught.value.result.hits] == ["a", "d", "b"]


def test_a_leg_that_nobody_answers_is_left_out() -> None:
    """If no leg is answered, there is no answer."""
    silent = {0: SILENT, 1: SILENT}
    found = Hybrids(text=silent).search()
    assert [hit.id for hit in found.hits] == ["b", "f", "e"]
    with pytest.raises(InsufficientCoverageError, match="no leg has answered"):
        Hybrids(text=silent, vector=silent).search()


@pytest.mark.parametrize("hybrid", [Hybrid(), None])
@pytest.mark.parametrize("took_s", [0.0, 5.0])
def test_too_little_time_is_a_lack_of_coverage_as_in_other_searches(
    hybrid: Hybrid | None, took_s: float
) -> None:
    """No shard was asked, or none has answered; the result says that it was for want of time."""
    hybrids = Hybrids(text={0: SILENT, 1: SILENT}, vector={0: SILENT, 1: SILENT})
    hybrids.embedder = Embedder(took_s=took_s)
    query = SearchQuery(
        "things", "red", hybrid=hybrid, vector=VectorQuery("v"), fields=False, deadline_ms=1
    )
    with pytest.raises(InsufficientCoverageError) as caught:
        hybrids.ask(query)
    assert caught.value.result.coverage.degraded == {"timed_out": 2}
    assert coverage_status(caught.value.result) == 504
    assert hybrids.took_s <= 0.0015


def test_a_field_that_no_shard_has_filled_leaves_its_leg_out() -> None:
    """It was added a moment ago; a search by this field alone is worth trying again."""
    hybrids = Hybrids(vector={shard: Script(kind="refused") for shard in range(2)})
    hybrids.collection = replace(COLLECTION, revision=1)
    hybrids.filling = Filling(["v"], 0.0, 2)
    found = hybrids.search()
    assert found.legs is not msgspec.UNSET
    reason = "the field v was added, and no shard has filled it yet"
    assert found.legs["vector"].left_out == reason
    assert [hit.id for hit in found.hits] == ["a", "d", "b"]
    with pytest.raises(UnavailableError, match=reason) as caught:
        hybrids.ask(SearchQuery("things", "red", fields=False, vector=VectorQuery("v")))
    assert caught.value.retry_after_s == 5


def test_enough_of_a_leg_suffices_if_the_caller_says_so() -> None:
    """The leg by vector waits for half of the documents; that by text has all at once."""
    slow = {0: VECTOR[0], 1: Script(delays_s=(5.0,))}
    hybrids = Hybrids(vector=slow)
    found = hybrids.search(deadline_ms=2000, hybrid={"wait_for": {"vector": 0.5}})
    assert hybrids.took_s < 1.9
    assert found.coverage.degraded == {"enough": 1}


def test_the_second_phase_scores_the_fused_hits_with_both_scores() -> None:
    """It gets the best `candidates`; the others follow as they were fused."""
    hybrids = Hybrids()
    found = hybrids.search(rank_profile="ranked")
    (payload,) = hybrids.shards.payloads["second_phase"]
    assert payload.options is not None
    assert [(one.shard, one.id, one.legs) for one in payload.options.candidates] == [
        (0, "b", (4.0, pytest.approx(0.9))),
        (0, "a", (9.0, None)),
        (1, "d", (6.0, None)),
    ]
    assert payload.profile == "ranked"
    assert {one.profile for one in hybrids.shards.payloads["text"]} == {"bm25"}
    # Of the three, the shards' script scores b and a.
    assert [hit.id for hit in found.hits] == ["b", "a", "d", "f", "e"]
    assert [hit.score for hit in found.hits[:2]] == [7.0, 1.0]
    assert any("1 of the 3 candidates" in warning for warning in found.warnings)


def test_the_second_phase_asks_the_shards_that_have_candidates() -> None:
    """The others are skipped, and count as searched, though they could not be asked."""
    hybrids = Hybrids(second_phase={0: SCORED[0], 1: SILENT})
    found = hybrids.search(rank_profile="ranks_one", explain=True)
    assert [shards for kind, shards in hybrids.shards.scattered if kind is Kind.SEARCH][2:] == [
        (0,)
    ]
    assert found.legs is not msgspec.UNSET
    leg = found.legs["second_phase"]
    assert leg.coverage.is_full
    assert (leg.shards.ok, leg.shards.skipped) == (1, 1)
    assert [one.reason for one in leg.shards.detail] == [
        "",
        "it has no candidate of the second phase",
    ]
    assert found.coverage.is_full
    assert found.outcomes[Outcome.OK] == 2
    assert found.warnings == ()


def test_without_an_answer_of_the_second_phase_the_fused_order_stands() -> None:
    """And the answer says so, by the deadline."""
    hybrids = Hybrids(second_phase={0: SILENT, 1: SILENT})
    found = hybrids.search(rank_profile="ranked")
    assert [hit.id for hit in found.hits] == ["b", "a", "d", "f", "e"]
    assert found.legs is not msgspec.UNSET
    assert "no reply" in str(found.legs["second_phase"].left_out)
    assert found.coverage.fraction == 0
    assert hybrids.took_s <= 0.3


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"filter": "title:("}, "filter"),
        ({"vector": VectorQuery("v", [1.0])}, "vector.value"),
        ({"vector": VectorQuery("v", ef=100_000)}, "vector.ef"),
        ({"syntax": "strict", "query": "title:("}, "query"),
        ({"facets": {"title": Facet()}}, "facets.title"),
    ],
)
def test_a_bad_search_is_refused_before_any_shard_is_asked(
    members: dict[str, Any], field: str
) -> None:
    """By the name of the member, whichever leg it belongs to."""
    hybrids = Hybrids()
    with pytest.raises(BadRequestError) as caught:
        hybrids.search(**members)
    assert caught.value.field == field
    assert hybrids.shards.payloads == {}


def test_a_hybrid_search_counts_as_both_legs() -> None:
    """Where one search may be in flight, only one leg of it is."""
    hybrids = Hybrids()
    hybrids.admission = AdmissionSettings(initial_limit=1, min_limit=1, max_limit=1)
    found = hybrids.search()
    assert found.legs is not msgspec.UNSET
    left_out = [name for name, leg in found.legs.items() if leg.left_out is not msgspec.UNSET]
    assert left_out == ["vector"]


def test_a_search_by_vector_alone_may_have_its_vector_made_of_the_query() -> None:
    """It is an ordinary search by vector then."""
    hybrids = Hybrids()
    query = SearchQuery("things", "red", fields=False, vector=VectorQuery("v"))
    found = hybrids.ask(query)
    assert [hit.id for hit in found.hits] == ["b", "f", "e"]
    assert found.legs is msgspec.UNSET
    assert hybrids.embedder.texts == ["red"]
    hybrids.embedder = Embedder(EmbeddingError("broken"))
    with pytest.raises(UnavailableError, match="broken"):
        hybrids.ask(query)


def test_no_leg_that_could_be_asked_is_an_overload() -> None:
    """The caller learns that it is worth trying again."""
    hybrids = Hybrids()
    hybrids.embedder = Embedder(EmbeddingError("broken"))
    hybrids.admission = AdmissionSettings(initial_limit=1, min_limit=1, max_limit=1)

    async def main() -> None:
        searcher = searcher_over(hybrids.shards, COUNTS, admission=hybrids.admission)
        searcher.use_profiles(PROFILES)
        ours: Any = HybridSearcher(
            searcher,
            hybrids.embedder,  # type: ignore[arg-type]
            FixedView(COUNTS),
            searcher_settings(),
            {"models:embed"},
        )
        other = asyncio.create_task(
            searcher.search(SearchQuery("things", "x", fields=False), COLLECTION)
        )
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await ours.search(SearchQuery("things", "x", hybrid=Hybrid()), COLLECTION)
        await other

    run_virtually(main())


def test_what_every_shard_refuses_in_the_leg_by_vector_is_named_so() -> None:
    """Such as a vector field that was added a moment ago: the query's text is not at fault."""
    refused = {shard: Script(kind="refused") for shard in range(2)}
    with pytest.raises(BadRequestError, match="scripted refusal") as caught:
        Hybrids(vector=refused).search()
    assert caught.value.field == "vector"
    with pytest.raises(BadRequestError, match="scripted refusal") as caught:
        Hybrids(text=refused).search()
    assert caught.value.field == "query"
