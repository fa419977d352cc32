"""Users' functions are checked at the start, and what they do wrong is reported and contained."""

import logging
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from hedgerow.common.errors import (
    BadQueryError,
    ConfigurationError,
    ExpiredError,
    RankingError,
    WorkError,
)
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES, RankProfile
from hedgerow.common.wire.messages import SearchPayload, pack_body, unpack_search_body
from hedgerow.shard_worker.scoring.ranking import Enrich, SecondPhase, enrich_hooks, second_phases
from hedgerow.shard_worker.scoring.scorer import ScorerConfig, make_scorer
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.term_statistics import collect, merge, write_table
from tests.unit.support.shards import EndlessBudget, OneShard

HOOKS = '''
"""Functions of a user."""
import json
import math
seen = []
def two(query, documents): return [len(document["t"]) for document in documents]
def three(query, documents, budget):
    seen.append((query, documents, budget.expired()))
    return [float(number) for number, _ in enumerate(documents)]
def optional(query, documents, budget=None): return [1.0 if budget else 0.0] * len(documents)
def raises(query, documents): raise ValueError("no such thing\\nin two lines")
def short(query, documents): return [1.0]
def words(query, documents): return ["much"] * len(documents)
def nothing(query, documents): return None
def text(query, documents): return "abc"
def mapping(query, documents): return {"a": 1.0}
def gap(query, documents): return [1.0, None, 2.0]
def disordered(query, documents): return set(map(float, range(len(documents))))
def exits(query, documents): raise SystemExit(4)
def huge(query, documents): return [1.0, 2.0, 10 ** 5000]
def generates(query, documents): yield from map(inverse, documents)
def inverse(document): return 1 / document["n"]
def calls_library(query, documents): return json.loads("x")
def rants(query, documents): raise ValueError("no " * 1000)
def infinite(query, documents): return [math.inf] * len(documents)
def one(query): return []
def four(query, documents, budget, more): return []
async def later(query, documents): return []
def enrich(documents): return [document | {"new": 1} for document in documents]
def fewer(documents): return documents[1:]
def others(documents): return [1] * len(documents)
class Model:
    def score(self, query, documents): return [7.0] * len(documents)
model = Model()
number = 3
'''


@pytest.fixture(autouse=True)
def hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A user's module on the import path."""
    folder = tmp_path / "user"
    folder.mkdir()
    (folder / "user_hooks.py").write_text(HOOKS)
    (folder / "user_broken.py").write_text("import nowhere_to_be_found")
    monkeypatch.syspath_prepend(str(folder))
    yield lambda: sys.modules["user_hooks"]
    sys.modules.pop("user_hooks", None)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("nowhere:f", "No module named 'nowhere'"),
        ("user_broken:f", "nowhere_to_be_found"),
        ("user_hooks:missing", "has no missing"),
        ("user_hooks:number", "not a function"),
        ("user_hooks:one", "takes 2 or 3 arguments"),
        ("user_hooks:four", "takes 2 or 3 arguments"),
        ("user_hooks:later", "async"),
    ],
)
def test_a_function_that_cannot_be_used_is_told_at_the_start(reference: str, reason: str) -> None:
    """The error names the profile, the setting, the function and the reason."""
    with pytest.raises(ConfigurationError) as refused:
        second_phases({"mine": RankProfile(second_phase=reference)})
    message = str(refused.value)
    assert message.startswith(f"rank_profiles.mine.second_phase: {reference}")
    assert reason in message


def test_an_enrich_hook_takes_the_documents_alone() -> None:
    """A function of two parameters is refused as `enrich`."""
    with pytest.raises(ConfigurationError, match=r"rank_profiles\.mine\.enrich.*takes 1 arguments"):
        enrich_hooks({"mine": RankProfile(enrich="user_hooks:two")})
    assert enrich_hooks({"bm25": RankProfile()}) == {}


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        ("two", [1.0, 2.0]),
        ("three", [0.0, 1.0]),
        ("optional", [1.0, 1.0]),
        ("model.score", [7.0] * 2),
    ],
)
def test_a_function_may_take_the_budget_or_leave_it(name: str, scores: list[float]) -> None:
    """With two parameters it gets query and documents, with three the budget as well."""
    second_phase = SecondPhase("mine", f"user_hooks:{name}")
    documents = [{"t": "a"}, {"t": "ab"}]
    assert second_phase.score("q", documents, EndlessBudget()) == scores


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("short", "returned 1 score for 3 documents"),
        ("words", "returned 'much' as the score of document 'a', not a finite number"),
        ("nothing", "returned None, not a list of 3 scores"),
        ("text", "returned 'abc', not a list of 3 scores"),
        ("mapping", "returned a dict, not a list of 3 scores"),
        ("disordered", "returned a set, not a list of 3 scores"),
        ("infinite", "returned inf as the score of document 'a', not a finite number"),
        ("gap", "returned None as the score of document 'b', not a finite number"),
        ("huge", "returned an int as the score of document 'c', not a finite number"),
    ],
)
def test_scores_are_as_many_finite_numbers_as_documents(name: str, reason: str) -> None:
    """Anything else is an error that says what came instead."""
    documents = [{"id": "a"}, {"id": "b"}, {"id": "c"}]
    with pytest.raises(RankingError) as raised:
        SecondPhase("mine", f"user_hooks:{name}").score("q", documents, EndlessBudget())
    assert str(raised.value) == f"user_hooks:{name} {reason}"


def test_scores_may_come_one_by_one() -> None:
    """A generator of scores is as good as a list of them."""
    second_phase = SecondPhase("mine", "user_hooks:generates")
    assert second_phase.score("q", [{"n": 2}, {"n": 4}], EndlessBudget()) == [0.5, 0.25]


@pytest.mark.parametrize(
    ("name", "place", "reason"),
    [
        ("raises", "raises", "ValueError: no such thing in two lines"),
        # The line that calls the library, not the library's own.
        ("calls_library", "calls_library", "json.decoder.JSONDecodeError: Expecting value"),
        ("generates", "inverse", "ZeroDivisionError: division by zero"),
        # It would end the scorer, and the caller would read that the query has killed two.
        ("exits", "exits", "SystemExit: 4"),
    ],
)
def test_an_exception_is_told_with_its_line_and_logged_whole(
    name: str, place: str, reason: str
) -> None:
    """The caller reads what was raised and where; the worker's log has the whole traceback."""
    with capture_logs() as logs, pytest.raises(RankingError) as raised:
        SecondPhase("mine", f"user_hooks:{name}").score("q", [{"n": 0}], EndlessBudget())
    line = next(
        number
        for number, text in enumerate(HOOKS.splitlines(), 1)
        if text.startswith(f"def {place}(")
    )
    where = f"user_hooks.py:{line}, in {place}"
    assert str(raised.value).startswith(f"user_hooks:{name} raised {reason}")
    assert str(raised.value).endswith(f" ({where})")
    (entry,) = logs
    assert entry["event"] == "ranking_function_raised"
    assert entry["at"] == where
    assert entry["exc_info"]
    cause = raised.value.__cause__
    assert cause is not None
    assert cause.__traceback__ is not None


def test_a_long_exception_is_cut() -> None:
    """What a function raises is part of an answer, so its length is bounded."""
    with pytest.raises(RankingError) as raised:
        SecondPhase("mine", "user_hooks:rants").score("q", [{"n": 0}], EndlessBudget())
    assert len(str(raised.value)) < 500


def test_an_exception_without_a_line_is_told_without_one() -> None:
    """A function written in C has no line to name."""
    with pytest.raises(RankingError) as raised:
        SecondPhase("mine", "operator:getitem").score("q", [], EndlessBudget())
    assert str(raised.value) == (
        "operator:getitem raised TypeError: string indices must be integers, not 'list'"
    )


@pytest.mark.parametrize(
    ("name", "came"),
    [("fewer", "1 document"), ("others", "a list that does not consist of documents")],
)
def test_enriched_documents_are_as_many_documents(name: str, came: str) -> None:
    """A hook that drops or exchanges them is at fault, and the stored fields stay."""
    with pytest.raises(RankingError, match=f"{came}, not a list of 2 documents"):
        Enrich("mine", f"user_hooks:{name}")([{"id": "1"}, {"id": "2"}])
    assert Enrich("mine", "user_hooks:enrich")([{"id": "1"}]) == [{"id": "1", "new": 1}]


DOCUMENTS = [{"id": f"d{n}", "t": "word " * (n + 1), "n": n} for n in range(6)]


@pytest.fixture
def shard(tmp_path: Path) -> OneShard:
    """Six documents, the longer the better for BM25."""
    return OneShard.of(tmp_path / "data", {"t": "text", "n": "integer"}, DOCUMENTS)


def profile(name: str, **more: Any) -> dict[str, RankProfile]:
    """A profile `mine` with a function of the user's."""
    return {"mine": RankProfile(second_phase=f"user_hooks:{name}", **more)}


def test_the_second_phase_scores_the_best_candidates_again(shard: OneShard, hooks: Any) -> None:
    """It gets as many as configured, best first, with the wanted fields, id and first score."""
    first = shard.search("word", k=6)
    body = shard.search(
        "word", k=2, profile="mine", profiles=profile("three", candidates=3, fields=["n", "zz"])
    )
    ((query, documents, expired),) = hooks().seen
    assert (query, expired) == ("word", False)
    assert [one.keys() for one in documents] == [{"id", "n", "_score"}] * 3
    assert [one["id"] for one in documents] == first.ids[:3]
    assert [one["_score"] for one in documents] == first.scores[:3]
    assert body.ids == [first.ids[2], first.ids[1]]
    assert body.scores == [2.0, 1.0]
    assert (body.documents, body.total, body.is_exact) == (6, 6, True)


def test_a_client_that_wants_more_than_the_candidates_gets_them(shard: OneShard) -> None:
    """All hits have second-phase scores: the two kinds are never mixed in one answer."""
    body = shard.search("word", k=5, profile="mine", profiles=profile("two", candidates=2))
    assert len(body.ids) == 5
    assert body.scores == sorted(body.scores, reverse=True)


@pytest.mark.parametrize(
    ("fields", "max_bytes", "num_ranked"),
    [(None, None, 2), (["n"], 6 * len('{"n":5}'), 6), (["n"], 3 * len('{"n":5}') - 1, 2)],
)
def test_candidates_are_ranked_within_their_bound(
    shard: OneShard, hooks: Any, fields: list[str] | None, max_bytes: int | None, num_ranked: int
) -> None:
    """The best whose wanted fields fit together are scored, and the others are counted."""
    first = shard.search("word", k=6)
    if max_bytes is None:
        store = Store.open(shard.data / "shards" / "0" / "store.sqlite", read_only=True)
        max_bytes = sum(len(one or b"") for one in store.get("u1", first.ids[:2]))
        store.close()
    profiles = profile("three", fields=fields)
    config = ScorerConfig(str(shard.data), profiles, max_candidate_bytes=max_bytes)
    payload = SearchPayload("u1", "word", 6, "mine", "", False)
    packed = make_scorer(config)((0, shard.open().generation, pack_body(payload)), EndlessBudget())
    body = unpack_search_body(packed)
    ((_, documents, _),) = hooks().seen
    assert [one["id"] for one in documents] == first.ids[:num_ranked]
    assert sorted(body.ids) == sorted(first.ids[:num_ranked])
    assert (body.total, body.unranked) == (6, 6 - num_ranked)


def test_equal_second_scores_go_by_id(shard: OneShard) -> None:
    """The same data gives the same answer, whatever the function makes of it."""
    body = shard.search("word", k=4, profile="mine", profiles=profile("model.score"))
    assert body.ids == ["d0", "d1", "d2", "d3"]


def test_nothing_found_is_not_scored(shard: OneShard, hooks: Any) -> None:
    """The function is not called for an empty list."""
    assert shard.search("zzz", profile="mine", profiles=profile("three")).ids == []
    assert hooks().seen == []


def test_noop_gives_the_first_ids(shard: OneShard) -> None:
    """Without an index, in the order of ids; and as candidates of a second phase, with score 0."""
    body = shard.search("", k=3, profile="noop")
    assert (body.ids, body.scores, body.total) == (["d0", "d1", "d2"], [0.0] * 3, 6)
    body = shard.search("", k=1, profile="mine", profiles=profile("two", first_phase="noop"))
    assert body.ids == ["d5"]


def test_the_budget_is_looked_at_between_the_steps(shard: OneShard, hooks: Any) -> None:
    """Work that is no longer wanted ends before the user's function is called."""

    class Expired(EndlessBudget):
        def expired(self) -> bool:
            return True

    with pytest.raises(ExpiredError):
        shard.search("word", profile="mine", profiles=profile("three"), budget=Expired())
    assert hooks().seen == []


def test_a_failure_after_the_deadline_is_the_deadlines(shard: OneShard) -> None:
    """A function that raises because its time is up is no failure of its own."""

    class Expiring(EndlessBudget):
        looks = 0

        def expired(self) -> bool:
            self.looks += 1
            return self.looks > 2

    with pytest.raises(ExpiredError):
        shard.search("word", profile="mine", profiles=profile("raises"), budget=Expiring())


def test_a_search_that_cannot_be_done_is_a_work_error(shard: OneShard) -> None:
    """Another shard, another profile, a filter that does not fit: none ends the scorer."""
    score = make_scorer(ScorerConfig(str(shard.data), dict(BUILT_IN_PROFILES)))

    def ask(number: int, name: str = "bm25", filter_text: str = "", uid: str = "u1") -> Any:
        payload = SearchPayload(uid, "word", 3, name, filter_text, False)
        return score((number, 0, pack_body(payload)), EndlessBudget())

    for bad in ((1,), (0, "mine"), (0, "bm25", "yaer:3")):
        with pytest.raises(WorkError):
            ask(*bad)
    assert len(unpack_search_body(ask(0)).ids) == 3
    assert unpack_search_body(ask(0, uid="never")).documents == 0
    assert unpack_search_body(ask(0, "noop", uid="never")).documents == 0
    score.close()


def test_a_query_that_does_not_fit_is_told_from_a_shard_that_cannot_be_searched(
    shard: OneShard,
) -> None:
    """The query's own fault has its code, whatever reading or building it raises."""
    with pytest.raises(BadQueryError, match="yaer"):
        shard.search("word", filter_text="yaer:3")
    for raised in (RecursionError(), OverflowError(), ValueError()):
        with (
            patch(
                "hedgerow.shard_worker.scoring.query_builder.QueryBuilder.build", side_effect=raised
            ),
            pytest.raises(BadQueryError),
        ):
            shard.search("word")
    with (
        patch(
            "hedgerow.shard_worker.scoring.scorer.retrieve",
            side_effect=ValueError("the index is damaged"),
        ),
        pytest.raises(WorkError, match="damaged") as failed,
    ):
        shard.search("word")
    assert failed.value.code == "failed"


def test_a_newer_generation_is_opened_and_new_statistics_are_used(shard: OneShard) -> None:
    """A scorer lives on through commits and statistics; it never shows an older generation."""
    score = make_scorer(ScorerConfig(str(shard.data), dict(BUILT_IN_PROFILES)))

    def ask(generation: int) -> Any:
        payload = SearchPayload("u1", "fresh", 9, "bm25", "", False)
        body = score((0, generation, pack_body(payload)), EndlessBudget())
        return unpack_search_body(body)

    before = shard.open().generation
    assert ask(before).ids == []
    after = shard.put([{"id": "new", "t": "fresh paint"}])
    assert ask(after).ids == ["new"]
    (alone,) = ask(after).scores
    statistics = collect(shard.open())
    write_table(shard.data / "statistics" / "u1.sqlite", merge([statistics] * 8))
    (together,) = ask(after).scores
    weight = [math.log(1 + (n - f + 0.5) / (f + 0.5)) for n, f in ((7, 1), (56, 8))]
    assert together / alone == pytest.approx(weight[1] / weight[0], rel=1e-4)
    score.close()


def test_logging_stays_quiet_when_all_is_well(
    shard: OneShard, caplog: pytest.LogCaptureFixture
) -> None:
    """A search that succeeds logs nothing."""
    with caplog.at_level(logging.DEBUG), capture_logs() as logs:
        shard.search("word", profile="mine", profiles=profile("two"))
    assert [entry for entry in logs if entry["log_level"] != "debug"] == []
    assert caplog.records == []
