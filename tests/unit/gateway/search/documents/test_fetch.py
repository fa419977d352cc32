"""The fetch phase, in virtual time, against scripted shards."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.wire.messages import Kind
from hedgerow.gateway.search.documents.answer_memory import SMALL_BYTES
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.shapes.answer import Fetch, FetchProblem
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import COLLECTION, searcher_over

DEADLINE_S = 0.3


def owner(*ids: str, **changes: Any) -> Script:
    """A shard that finds and owns these documents, scored by their number."""
    hits = tuple(sorted(((one, float(one[1:])) for one in ids), key=lambda hit: -hit[1]))
    documents = {one: {"id": one, "title": f"title of {one}"} for one in ids}
    return Script(**{"hits": hits, "fetch": documents, **changes})


def ask(
    scripts: dict[int, Script],
    settings: GatewaySettings | None = None,
    max_attached_bytes: int = 0,
    **changes: Any,
) -> tuple[SearchResult, float, ScriptedTransport]:
    """Search once with fields; returns the result, how long it took, and the transport."""
    transport = ScriptedTransport(scripts)
    query = SearchQuery(
        **{"collection": "things", "query": "x", "k": 3, "deadline_ms": 300.0, **changes}
    )

    async def scenario() -> tuple[SearchResult, float]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        searcher = searcher_over(
            transport,
            [10] * len(scripts),
            settings=settings,
            max_attached_bytes=max_attached_bytes,
        )
        return await searcher.search(query, COLLECTION), loop.time() - started

    return (*run_virtually(scenario()), transport)


def test_only_the_owners_of_the_winners_are_asked() -> None:
    """The top k are merged first; a shard that has none of them is not asked for documents."""
    result, _, transport = ask({0: owner("d9", "d1"), 1: owner("d8", "d7"), 2: owner("d2")})
    assert [(hit.id, hit.fields) for hit in result.hits] == [
        (one, {"id": one, "title": f"title of {one}"}) for one in ("d9", "d8", "d7")
    ]
    assert [kind for kind, _ in transport.scattered] == [Kind.SEARCH, Kind.FETCH, Kind.FETCH]
    assert sorted(transport.scattered[1][1] + transport.scattered[2][1]) == [0, 1]
    assert result.fetch is not None
    assert (result.fetch.fetched, result.fetch.missing, result.fetch.problems) == (3, 0, [])


# A profile whose documents may come along, unlike those of the collection's noop.
ATTACHING: dict[str, Any] = {"max_attached_bytes": 10_000, "rank_profile": "bm25"}


def documents_of(script: Script, num: int) -> tuple[bytes, ...]:
    """The documents of a shard's first hits."""
    return tuple(json.dumps(script.fetch[one]).encode() for one, _ in script.hits[:num])


def test_what_comes_with_the_replies_is_not_fetched() -> None:
    """The answer is the same as with a fetch, which is not sent."""
    plain = {0: owner("d9", "d1"), 1: owner("d8", "d7"), 2: owner("d2")}
    scripts = {
        shard: replace(script, attached=documents_of(script, 2)) for shard, script in plain.items()
    }
    result, _, transport = ask(scripts, **ATTACHING)
    fetched, _, _ = ask(plain)
    assert [kind for kind, _ in transport.scattered] == [Kind.SEARCH]
    assert [(hit.id, hit.fields) for hit in result.hits] == [
        (hit.id, hit.fields) for hit in fetched.hits
    ]
    assert result.fetch == fetched.fetch == Fetch(3, 0)


def test_only_what_has_not_come_is_fetched() -> None:
    """A shard that sent some of its winners' documents is asked for the others."""
    both = owner("d9", "d8", "d7")
    scripts = {0: replace(both, attached=documents_of(both, 1), fetch={"d8": {"id": "d8"}})}
    result, _, transport = ask(scripts, **ATTACHING)
    assert [kind for kind, _ in transport.scattered] == [Kind.SEARCH, Kind.FETCH]
    assert [hit.fields for hit in result.hits] == [
        {"id": "d9", "title": "title of d9"},
        {"id": "d8"},
        None,
    ]
    assert result.fetch == Fetch(2, 1, 0, [FetchProblem(0, "document 'd7' is gone")])


def test_documents_that_come_with_the_replies_count_in_the_answer() -> None:
    """An answer has no more bytes than it may, however its documents have come."""
    script = owner("d9", "d8")
    attached = documents_of(script, 2)
    settings = GatewaySettings(max_answer_bytes=len(attached[0]))
    result, _, _ = ask({0: replace(script, attached=attached)}, settings, **ATTACHING)
    assert [hit.fields is not None for hit in result.hits] == [True, False]
    why = "1 document was left out: the answer reached its limit, gateway.max_answer_bytes"
    assert result.fetch == Fetch(1, 1, 1, [FetchProblem(0, why)])


def test_a_silent_fetch_leaves_hits_without_fields_on_time() -> None:
    """The hit keeps its id and score, its fields are null, the answer says why and is on time."""
    result, took_s, _ = ask({0: owner("d9"), 1: owner("d8", fetch_delay_s=None)})
    assert [(hit.id, hit.score, hit.fields is None) for hit in result.hits] == [
        ("d9", 9.0, False),
        ("d8", 8.0, True),
    ]
    assert result.fetch is not None
    assert (result.fetch.fetched, result.fetch.missing) == (1, 1)
    assert result.fetch.problems == [FetchProblem(1, "no reply by the deadline")]
    assert result.coverage.is_full
    assert took_s <= DEADLINE_S


def test_a_document_that_is_gone_is_said_so() -> None:
    """A winner that was deleted between the phases has null fields and a reason."""
    result, _, _ = ask({0: owner("d9", fetch={})})
    assert result.hits[0].fields is None
    assert result.fetch is not None
    assert "d9" in result.fetch.problems[0].reason


def test_an_older_worker_is_understood() -> None:
    """Documents that come decoded are those that would come as JSON."""
    result, _, _ = ask({0: owner("d9", is_old=True), 1: owner("d8")})
    assert [hit.fields for hit in result.hits] == [
        {"id": one, "title": f"title of {one}"} for one in ("d9", "d8")
    ]


def test_what_a_shard_leaves_out_is_said_so() -> None:
    """The hits are there without fields, and are counted apart from those that are gone."""
    limit = "the shard's reply reached its limit, limits.max_fetch_bytes"
    result, _, _ = ask({0: owner("d9", "d8", "d7", fetch={"d9": 12_345, "d7": 99_999})})
    assert [hit.fields for hit in result.hits] == [None] * 3
    gone = FetchProblem(0, "document 'd8' is gone")
    left_out = FetchProblem(0, f"2 documents were left out: {limit}")
    assert result.fetch == Fetch(0, 3, 2, [gone, left_out])


def test_an_answer_has_no_more_bytes_than_it_may() -> None:
    """The best hits have their fields; those that do not fit have none, whichever their shard."""
    size = len(b'{"id": "d9", "title": "title of d9"}')
    settings = GatewaySettings(max_answer_bytes=3 * size)
    scripts = {0: owner("d9", "d6"), 1: owner("d8", "d7"), 2: owner("d5")}
    result, _, _ = ask(scripts, settings, k=5)
    assert [hit.fields is not None for hit in result.hits] == [True, True, True, False, False]
    assert result.fetch is not None
    assert (result.fetch.fetched, result.fetch.missing, result.fetch.left_out) == (3, 2, 2)
    why = "1 document was left out: the answer reached its limit, gateway.max_answer_bytes"
    assert result.fetch.problems == [FetchProblem(0, why), FetchProblem(2, why)]


def test_a_reply_that_there_is_no_memory_for_is_dropped() -> None:
    """Its hits come without fields, and the others have theirs; small replies always pass."""
    large = {"id": "d9", "text": "x" * SMALL_BYTES}
    settings = GatewaySettings(max_held_bytes=1000)
    result, _, _ = ask({0: owner("d9", fetch={"d9": large}), 1: owner("d8")}, settings)
    assert [hit.fields is not None for hit in result.hits] == [False, True]
    assert result.fetch is not None
    assert (result.fetch.missing, result.fetch.left_out) == (1, 1)
    assert "gateway.max_held_bytes" in result.fetch.problems[0].reason


def test_a_large_answer_is_held_for_as_long_as_its_lease() -> None:
    """What the gateway holds is counted until the last reference is gone."""
    size = 2 * SMALL_BYTES

    async def scenario() -> list[int]:
        script = owner("d9", fetch={"d9": {"text": "x" * size}})
        searcher = searcher_over(ScriptedTransport({0: script}), [10])
        memory = searcher.fetcher.memory
        result = await searcher.search(SearchQuery("things", "x"), COLLECTION)
        held = [memory.held_bytes]
        del result
        return [*held, memory.held_bytes]

    held, left = run_virtually(scenario())
    assert held > size
    assert left == 0


def test_a_failed_enrich_is_said_so_and_costs_no_fields() -> None:
    """Stored fields arrive with the reason why there is no more."""
    result, _, _ = ask({0: owner("d9", enrich_error="enrich failed: no database")})
    assert result.hits[0].fields is not None
    assert result.fetch is not None
    assert result.fetch.missing == 0
    assert result.fetch.problems == [FetchProblem(0, "enrich failed: no database")]


def test_no_fields_no_fetch() -> None:
    """With fields false nothing is read, and the result does not claim that it was tried."""
    result, _, transport = ask({0: owner("d9")}, fields=False)
    assert result.fetch is None
    assert [kind for kind, _ in transport.scattered] == [Kind.SEARCH]


@pytest.mark.parametrize("need_s", [0.005, 0.05, 0.12])
def test_the_reserve_is_learnt(need_s: float) -> None:
    """With one shard silent in every search, fetches of any steady length soon arrive in time."""

    async def scenario() -> list[int]:
        transport = ScriptedTransport(
            {0: owner("d9", fetch_delay_s=need_s), 1: Script(delays_s=())}
        )
        searcher = searcher_over(transport, [10, 10])
        searcher._guards.shared.breakers[1].disable(0.0)
        query = SearchQuery("things", "x", deadline_ms=DEADLINE_S * 1000)
        missing = []
        for _ in range(60):
            result = await searcher.search(query, COLLECTION)
            assert result.fetch is not None
            missing.append(result.fetch.missing)
        return missing

    missing = run_virtually(scenario())
    assert missing[-20:] == [0] * 20


def test_a_late_enrich_gets_more_time() -> None:
    """An `enrich` that had too little time makes the next query keep more of its deadline."""

    async def scenario() -> list[float]:
        script = owner("d9", enrich_error="late", is_enrich_late=True)
        searcher = searcher_over(ScriptedTransport({0: script}), [10])
        query = SearchQuery("things", "x", deadline_ms=DEADLINE_S * 1000)
        reserves = []
        for _ in range(100):
            await searcher.search(query, COLLECTION)
            reserves.append(searcher.fetcher.reserve.reserve_s(1.0))
        return reserves

    reserves = run_virtually(scenario())
    assert reserves[-1] >= 0.02  # the fetches took 10 ms, and that was not enough
