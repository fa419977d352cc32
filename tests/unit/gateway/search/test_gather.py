"""The gather core, in virtual time, against scripted shards."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import BadRequestError, InsufficientCoverageError
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.common.wire.messages import Kind, unpack_search_body
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.searcher import Searcher
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport, reply_of
from tests.unit.support.searchers import COLLECTION, searcher_over

DEADLINE_S = 0.3


async def ask(
    transport: ScriptedTransport, counts: list[int], **changes: Any
) -> tuple[SearchResult, float]:
    """Search once; returns the result, also that of a refusal, and how long it took."""
    loop = asyncio.get_running_loop()
    query = SearchQuery(
        **{
            "collection": "things",
            "query": "x",
            "k": 5,
            "deadline_ms": DEADLINE_S * 1000,
            "fields": False,
            **changes,
        }
    )
    started = loop.time()
    try:
        result = await searcher_over(transport, counts).search(query, COLLECTION)
    except InsufficientCoverageError as error:
        result = error.result
    return result, loop.time() - started


SCRIPTS = st.builds(
    Script,
    delays_s=st.lists(
        # Not within 2 ms of the deadline: which side of it counts is another test's claim.
        st.one_of(st.floats(0, 0.295), st.floats(0.302, 2)),
        max_size=3,
    ).map(tuple),
    hits=st.lists(
        st.tuples(st.text("abcdef", min_size=1, max_size=3), st.sampled_from([0.5, 1.0, 2.0, 3.5])),
        max_size=6,
        unique_by=lambda hit: hit[0],
    ).map(lambda hits: tuple(sorted(hits, key=lambda hit: (-hit[1], hit[0])))),
    # So few that a hash of ids explains any of them beside any other: last reports count as true.
    documents=st.integers(0, 36),
    kind=st.sampled_from(["ok", "ok", "ok", "failed", "malformed", "unsent", "unqueued"]),
)


def expected_outcome(script: Script) -> set[Outcome]:
    """What a shard may end as, by its script alone."""
    if script.kind == "unsent":
        return {Outcome.UNAVAILABLE}
    in_time = [delay for delay in script.delays_s if delay < DEADLINE_S]
    if not in_time:
        return {Outcome.UNAVAILABLE if script.kind == "unqueued" else Outcome.TIMED_OUT}
    return {Outcome.OK} if script.kind in ("ok", "unqueued") else {Outcome.FAILED}


@given(st.lists(SCRIPTS, min_size=1, max_size=12))
def test_any_schedule_of_replies_is_answered_truly(scripts: list[Script]) -> None:
    """Whatever shards do: one outcome each, the brute-force top k of those in time, on time."""
    transport = ScriptedTransport(dict(enumerate(scripts)))
    counts = [script.documents for script in scripts]
    result, took_s = run_virtually(ask(transport, counts, explain=True))

    assert [detail.shard for detail in result.detail] == list(range(len(scripts)))
    for detail, script in zip(result.detail, scripts, strict=True):
        assert detail.outcome in expected_outcome(script)
    assert sum(result.outcomes.values()) == len(scripts)

    in_time = [
        (shard, script)
        for shard, script in enumerate(scripts)
        if result.detail[shard].outcome is Outcome.OK
    ]
    brute_force = sorted(
        (-score, document_id, shard)
        for shard, script in in_time
        for document_id, score in script.hits
    )[:5]
    assert [(-hit.score, hit.id) for hit in result.hits] == [row[:2] for row in brute_force]
    assert result.coverage.documents == sum(script.documents for _, script in in_time)
    assert result.coverage.documents_total == sum(counts)
    assert result.coverage.is_full == (len(in_time) == len(scripts))
    assert took_s <= DEADLINE_S
    assert transport.num_remembered == 0


@given(st.permutations(range(6)))
def test_arrival_order_does_not_matter(order: list[int]) -> None:
    """The same replies in any order give the same answer."""
    scripts = {
        shard: Script(delays_s=(0.01 * (1 + place),), hits=((f"d{shard}", 1.0),))
        for place, shard in enumerate(order)
    }
    result, _ = run_virtually(ask(ScriptedTransport(scripts), [10] * 6))
    assert [hit.id for hit in result.hits] == ["d0", "d1", "d2", "d3", "d4"]


def test_it_ends_with_the_last_reply() -> None:
    """When every shard has answered, the gather does not wait for the deadline."""
    scripts = {shard: Script(delays_s=(0.02 * (shard + 1),)) for shard in range(4)}
    _, took_s = run_virtually(ask(ScriptedTransport(scripts), [10] * 4))
    assert took_s == pytest.approx(0.08, abs=1e-6)


def test_a_silent_shard_costs_only_its_share() -> None:
    """One silent shard of eight: the answer comes at the deadline and covers the other seven."""
    scripts = {shard: Script(documents=100) for shard in range(7)}
    result, took_s = run_virtually(ask(ScriptedTransport(scripts), [100] * 8))
    assert 0.29 < took_s <= DEADLINE_S
    assert result.coverage.fraction == 7 / 8
    assert result.coverage.degraded == {"timed_out": 1}


def test_a_query_that_every_shard_refuses_is_the_callers_fault() -> None:
    """The caller gets the reason; where one shard is silent or fails, it is no such thing."""
    refused = {shard: Script(kind="refused") for shard in range(3)}
    with pytest.raises(BadRequestError, match="scripted refusal") as error:
        run_virtually(ask(ScriptedTransport(refused), [10] * 3))
    assert error.value.field == "query"
    for other in (Script(delays_s=()), Script(kind="failed"), Script(kind="unsent")):
        result, _ = run_virtually(ask(ScriptedTransport(refused | {1: other}), [10] * 3))
        assert result.outcomes[Outcome.FAILED] >= 2
    result, _ = run_virtually(ask(ScriptedTransport(refused | {1: Script()}), [10] * 3))
    assert result.outcomes[Outcome.OK] == 1


def test_queries_that_every_shard_refuses_open_no_breaker() -> None:
    """Fifty of them, and a query that is in order is answered by all."""
    transport = ScriptedTransport({shard: Script(kind="refused") for shard in range(2)})

    async def scenario() -> SearchResult:
        searcher = searcher_over(transport, [10, 10])
        query = SearchQuery(collection="things", query="x", fields=False)
        for _ in range(50):
            with pytest.raises(BadRequestError):
                await searcher.search(query, COLLECTION)
        transport.scripts = {shard: Script() for shard in range(2)}
        return await searcher.search(query, COLLECTION)

    assert run_virtually(scenario()).outcomes[Outcome.OK] == 2


def test_late_and_duplicate_replies_change_nothing() -> None:
    """A second copy is dropped, and one after the end is counted and goes nowhere."""
    transport = ScriptedTransport(
        {0: Script(delays_s=(0.01, 0.02), hits=(("a", 1.0),)), 1: Script(delays_s=(0.1, 0.5))}
    )

    async def scenario() -> SearchResult:
        result, _ = await ask(transport, [10, 10])
        await asyncio.sleep(1)
        return result

    result = run_virtually(scenario())
    assert [hit.id for hit in result.hits] == ["a"]
    assert result.outcomes[Outcome.OK] == 2
    assert transport.late == 1


@pytest.mark.parametrize(
    ("look_s", "until_s", "looked_s", "end_s"),
    [
        (0.1, None, [0.1], 0.3),
        (0.4, None, [], 0.3),
        (0.1, 0.2, [0.1], 0.2),
        (0.25, 0.2, [], 0.2),
        (0.02, 0.2, [0.02], 0.2),
    ],
    ids=["before", "after", "before enough", "after enough", "before it is known"],
)
def test_a_look_is_due_once_and_changes_no_end(
    look_s: float, until_s: float | None, looked_s: list[float], end_s: float
) -> None:
    """It goes off at its instant if the wait lasts until then, and does not change the wait's end.

    One shard answers after 50 ms, which may be enough soon; the other never does.
    """

    async def scenario() -> tuple[list[float], float, Gather]:
        loop = asyncio.get_running_loop()
        started, looked = loop.time(), []
        gather = Gather([0, 1], unpack_search_body)
        gather.sent({0: 1, 1: 1})
        gather.look_when(started + look_s, lambda: looked.append(loop.time() - started))
        if until_s is not None:
            gather.stop_when(lambda: started + until_s)
        loop.call_later(0.05, gather.on_reply, reply_of(1, 0, Script()), "w0", 0.05)
        await gather.wait(started + 0.3)
        return looked, loop.time() - started, gather

    looked, took_s, gather = run_virtually(scenario())
    assert looked == pytest.approx(looked_s)
    assert took_s == pytest.approx(end_s)
    ended = Outcome.TIMED_OUT if until_s is None else Outcome.CANCELLED
    assert gather.results[0].outcome is Outcome.OK
    assert gather.results[1].outcome is ended


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_server_that_hangs_is_not_the_shards_fault(is_silent: bool) -> None:
    """A part whose reply may wait in a server that answers nothing is unavailable, not late."""
    transport = ScriptedTransport({0: Script(), 1: Script(delays_s=())}, silent=is_silent)

    async def scenario() -> SearchResult:
        result, took_s = await ask(transport, [10, 10])
        assert took_s == pytest.approx(DEADLINE_S, abs=0.01)
        return result

    outcomes = run_virtually(scenario()).outcomes
    expected = Outcome.UNAVAILABLE if is_silent else Outcome.TIMED_OUT
    assert (outcomes[Outcome.OK], outcomes[expected]) == (1, 1)


def test_a_lost_connection_ends_the_wait() -> None:
    """When no reply can come any more, the open shards end at once as unavailable."""

    async def scenario() -> tuple[Gather, float]:
        loop = asyncio.get_running_loop()
        gather = Gather([0, 1], unpack_search_body)
        gather.on_reply(reply_of(1, 0, Script()), "w", loop.time())
        loop.call_later(0.05, gather.on_lost, "gone")
        started = loop.time()
        await gather.wait(started + 10)
        return gather, loop.time() - started

    gather, took_s = run_virtually(scenario())
    assert took_s == pytest.approx(0.05, abs=1e-6)
    assert [gather.results[shard].outcome for shard in (0, 1)] == [Outcome.OK, Outcome.UNAVAILABLE]


def test_a_caller_who_leaves_gives_everything_back() -> None:
    """A cancelled search releases its query and its breakers' permits, and blames no shard."""
    transport = ScriptedTransport({})

    async def scenario() -> Searcher:
        searcher = searcher_over(transport, [10] * 4)
        query = SearchQuery("things", "x", fields=False)
        for _ in range(20):  # enough to open every breaker, were it blamed
            task = asyncio.create_task(searcher.search(query, COLLECTION))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return searcher

    searcher = run_virtually(scenario())
    assert transport.num_remembered == 0
    assert searcher.num_in_flight == 0
    assert transport.scattered == [(Kind.SEARCH, (0, 1, 2, 3))] * 20


def test_breakers_open_and_spare_the_caller() -> None:
    """After five silent answers in a row the shard is not asked, and the answer comes at once."""
    transport = ScriptedTransport({0: Script(), 1: Script(delays_s=())})

    async def scenario() -> tuple[SearchResult, float]:
        searcher = searcher_over(transport, [10, 10])
        query = SearchQuery("things", "x", fields=False)
        for _ in range(5):
            await searcher.search(query, COLLECTION)
        started = asyncio.get_running_loop().time()
        return await searcher.search(query, COLLECTION), started

    async def timed() -> tuple[SearchResult, float]:
        result, started = await scenario()
        return result, asyncio.get_running_loop().time() - started

    result, took_s = run_virtually(timed())
    assert result.coverage.degraded == {"breaker_open": 1}
    assert took_s == pytest.approx(0.01, abs=1e-6)


@pytest.mark.parametrize("deadline_ms", [0.1, 1.0, 1.5, 20.0])
def test_a_deadline_too_short_for_anybody_is_nobodys_fault(deadline_ms: float) -> None:
    """The shards end as timed out, not as unavailable, and however often: no breaker opens."""
    transport = ScriptedTransport({0: Script(kind="unqueued", delays_s=())})

    async def scenario() -> list[dict[str, int]]:
        searcher = searcher_over(transport, [10])
        query = SearchQuery("things", "x", fields=False, deadline_ms=deadline_ms)
        degraded = []
        for _ in range(10):
            with pytest.raises(InsufficientCoverageError) as short:
                await searcher.search(query, COLLECTION)
            degraded.append(short.value.result.coverage.degraded)
        return degraded

    assert run_virtually(scenario()) == [{"timed_out": 1}] * 10


def test_that_no_shard_has_answered_is_told_with_the_reason() -> None:
    """The message names the reason although the caller did not ask to explain."""
    transport = ScriptedTransport({0: Script(kind="failed")})

    async def scenario() -> str:
        searcher = searcher_over(transport, [10])
        with pytest.raises(InsufficientCoverageError) as failed:
            await searcher.search(SearchQuery("things", "x", fields=False), COLLECTION)
        (detail,) = failed.value.result.detail
        assert detail.reason
        assert str(failed.value).endswith(f"1 shard failed: {detail.reason}")
        return str(failed.value)

    assert run_virtually(scenario()).startswith("no shard has answered: ")


def test_of_queries_that_arrive_in_one_turn_no_more_pass_than_there_is_room_for() -> None:
    """Those that passed count until they have begun, in the next turn, and no longer."""

    async def main() -> None:
        transport = ScriptedTransport({0: Script(delays_s=(0.1,))})
        admission = AdmissionSettings(initial_limit=4)
        searcher = searcher_over(transport, [10], admission=admission)
        query = SearchQuery(collection="things", query="x", fields=False)
        refused = [searcher.refusal_of(query, COLLECTION) for _ in range(6)]
        assert [one is None for one in refused] == [True] * 4 + [False] * 2
        searches = [asyncio.create_task(searcher.search(query, COLLECTION)) for _ in range(3)]
        await asyncio.sleep(0)
        assert searcher.num_in_flight == 3
        assert [searcher.refusal_of(query, COLLECTION) is None for _ in range(2)] == [True, False]
        await asyncio.gather(*searches)

    run_virtually(main())
