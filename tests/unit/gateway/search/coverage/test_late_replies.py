"""Late replies: learnt from by the real searcher, over scripted shards in virtual time."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.tail import CoverageSettings, HedgingSettings
from hedgerow.common.wire.messages import Kind, Request, SearchPayload, Status, unpack_request
from hedgerow.gateway.search.coverage.curve import MAX_TRACKED, CoverageCurve
from hedgerow.gateway.search.coverage.late_replies import BURST, CoverageCurves
from hedgerow.gateway.search.coverage.report import FARTHEST, gain_of
from hedgerow.gateway.search.ended_search import EndedSearch
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.guards.heavy_work import HeavyQuery
from hedgerow.gateway.search.planned_search import PlannedSearch
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.searcher import Searcher
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport, reply_of
from tests.unit.support.searchers import COLLECTION, searcher_over

NUM_SHARDS = 4
DEADLINE_MS = 300.0
USUAL_S = 0.010
STEP = 1.02  # the curve's points lie so far apart
COUNTS = (10, None)  # of two shards
OVERHEAD_MS = 1.0  # what is kept for the answer


@dataclass
class RecordingTransport(ScriptedTransport):
    """Keeps the searches that it was given."""

    requests: list[Request] = field(default_factory=list)

    def scatter(self, kind: Kind, query_id: int, *rest: Any, **options: Any) -> Any:
        """Note it, and follow the script."""
        self.requests.append(unpack_request(rest[1]))
        return super().scatter(kind, query_id, *rest, **options)


@dataclass
class Scene:
    """A searcher over shards of which the last is slow."""

    transport: RecordingTransport
    searcher: Searcher

    async def search(self, **changes: Any) -> SearchResult:
        """Search once."""
        wanted = {"fields": False, "explain": True, "deadline_ms": DEADLINE_MS, **changes}
        return await self.searcher.search(SearchQuery("things", "x", **wanted), COLLECTION)

    @property
    def curve(self) -> CoverageCurve:
        """The collection's."""
        return self.searcher._scatter_gather._learning.curves.curve(COLLECTION.uid)


def scene_of(*delays_s: float, num_live: int = 1, **settings: Any) -> Scene:
    """The last shard answers so late, once for each; the others as usual."""
    scripts = {shard: Script(delays_s=(USUAL_S,)) for shard in range(NUM_SHARDS - 1)}
    scripts[NUM_SHARDS - 1] = Script(delays_s=delays_s)
    transport = RecordingTransport(scripts)
    searcher = searcher_over(
        transport,
        [10] * NUM_SHARDS,
        num_live=num_live,
        hedging=HedgingSettings(burst=1000, max_extra_load=1.0),
        coverage=CoverageSettings(**settings),
    )
    return Scene(transport, searcher)


def test_a_shard_that_is_always_a_little_late_is_told_by_how_much() -> None:
    """350 ms against a deadline of 300: three quarters by it, and +50 ms would give all."""

    async def scenario() -> tuple[Scene, list[SearchResult]]:
        scene = scene_of(0.35)
        results = [await scene.search() for _ in range(4)]
        await asyncio.sleep(1)
        return scene, results

    scene, results = run_virtually(scenario())
    for result in results:
        assert result.coverage.fraction == 0.75
        assert result.coverage.degraded == {"timed_out": 1}
        assert result.took_ms <= DEADLINE_MS
    assert scene.transport.late == len(results)
    assert scene.curve.coverage(DEADLINE_MS) == pytest.approx(0.75)
    gain = gain_of(scene.curve, DEADLINE_MS)
    assert gain is not None
    assert gain.coverage == pytest.approx(1)
    assert 50 <= gain.extra_ms <= (350 + OVERHEAD_MS) * STEP - DEADLINE_MS
    assert scene.curve.coverage(350 / STEP) == pytest.approx(0.75)


def test_later_than_anybody_listens_is_only_known_to_be_later() -> None:
    """A shard that takes twice the deadline is missing as far as is known, and no time is named."""

    async def scenario() -> Scene:
        scene = scene_of(0.6)
        for _ in range(4):
            await scene.search()
        await asyncio.sleep(1)
        return scene

    scene = run_virtually(scenario())
    assert gain_of(scene.curve, DEADLINE_MS) is None
    assert len(scene.searcher._scatter_gather._learning.curves._late) == 0


def test_patient_queries_change_nothing_but_the_curve() -> None:
    """Answers, breakers, what hedging learns and what is hedged are as without late replies."""

    async def scenario(max_late_load: float) -> list[Any]:
        scene = scene_of(0.35, max_late_load=max_late_load)
        seen: list[Any] = [(await scene.search()).outcomes for _ in range(60)]
        await asyncio.sleep(1)
        now = asyncio.get_running_loop().time()
        breakers, policy = scene.searcher._guards.shared.breakers, scene.searcher.hedger.policy
        seen += [breakers[shard].snapshot(now) for shard in range(NUM_SHARDS)]
        seen += [policy.delay_s(shard, now) for shard in range(NUM_SHARDS)]
        seen += [scene.transport.hedged, scene.transport.cancelled]
        return seen

    assert run_virtually(scenario(1.0)) == run_virtually(scenario(0.0))


@pytest.mark.parametrize("is_sampled", [True, False])
def test_only_queries_that_are_learnt_from_run_on(*, is_sampled: bool) -> None:
    """Their requests expire later by the set share of the deadline; those of others, at it."""

    class Fixed:
        def takes(self, _now: float) -> bool:
            return is_sampled

    async def scenario() -> tuple[Request, int]:
        scene = scene_of(USUAL_S, late_reply_factor=0.5)
        scene.searcher._scatter_gather._learning.sampler = Fixed()  # type: ignore[assignment] # decides as the test has it
        before_us = scene.searcher._scatter_gather._messenger.clock.server_us(
            asyncio.get_running_loop().time()
        )
        await scene.search()
        return scene.transport.requests[0], before_us

    request, before_us = run_virtually(scenario())
    late_ms = 0.5 * DEADLINE_MS if is_sampled else 0
    assert request.late_ms == late_ms
    lasts_ms = request.expires_at_ms - before_us / 1000
    assert lasts_ms == pytest.approx(DEADLINE_MS - OVERHEAD_MS + late_ms, abs=1)


def test_what_runs_on_is_a_set_share_however_late_everything_is() -> None:
    """With every shard late, one request in ten runs on, beyond a burst."""
    num_queries = 800

    async def scenario() -> RecordingTransport:
        transport = RecordingTransport(
            {shard: Script(delays_s=(0.2,)) for shard in range(NUM_SHARDS)}
        )
        searcher = searcher_over(
            transport, [10] * NUM_SHARDS, coverage=CoverageSettings(max_late_load=0.1)
        )
        for shard in range(NUM_SHARDS):
            searcher._guards.shared.breakers[shard].disable(0.0)
        scene = Scene(transport, searcher)
        for _ in range(num_queries):
            with pytest.raises(Exception, match="no shard has answered"):
                await scene.search(deadline_ms=100.0)
        return transport

    transport = run_virtually(scenario())
    assert len(transport.requests) == num_queries
    num_late = NUM_SHARDS * sum(request.late_ms > 0 for request in transport.requests)
    allowed = 0.1 * NUM_SHARDS * num_queries
    assert 0.9 * allowed < num_late <= BURST + allowed + NUM_SHARDS


def test_enough_stops_the_rest_at_once_also_of_a_query_that_is_learnt_from() -> None:
    """What is cancelled since enough is covered counts as longer than it ran, and no more."""

    async def scenario() -> Scene:
        scene = scene_of(0.25)
        await scene.search(wait_for=0.75)
        await asyncio.sleep(0)
        assert [shards for _, shards, _ in scene.transport.cancelled] == [(NUM_SHARDS - 1,)]
        await asyncio.sleep(1)
        return scene

    scene = run_virtually(scenario())
    (request,) = scene.transport.requests
    assert request.late_ms > 0
    # Workers remember a cancellation for as long as the request could be pulled.
    assert scene.transport.cancelled[0][2] == request.expires_at_ms
    assert scene.curve.coverage(DEADLINE_MS) == pytest.approx(0.75)


def test_a_caller_who_leaves_stops_all_of_it() -> None:
    """Nothing runs on for a query whose caller has left, and what comes still is not counted."""

    async def scenario() -> Scene:
        scene = scene_of(0.32)
        search = asyncio.ensure_future(scene.search())
        await asyncio.sleep(0.1)
        search.cancel()
        await asyncio.gather(search, return_exceptions=True)
        assert [shards for _, shards, _ in scene.transport.cancelled] == [(NUM_SHARDS - 1,)]
        await asyncio.sleep(1)
        return scene

    scene = run_virtually(scenario())
    assert scene.transport.late == 1
    assert scene.curve.coverage(DEADLINE_MS * FARTHEST) == pytest.approx(0.75)


def test_a_late_reply_counts_once() -> None:
    """A second copy of it, however late, moves nothing."""

    async def scenario(*delays_s: float) -> list[tuple[float, float]]:
        scene = scene_of(*delays_s)
        await scene.search()
        await asyncio.sleep(1)
        assert scene.transport.late == len(delays_s)
        return scene.curve.curve()

    assert run_virtually(scenario(0.32, 0.34)) == run_virtually(scenario(0.32))


@pytest.mark.parametrize("max_late_load", [0.0, 1.0])
def test_a_second_copy_runs_on_as_the_first_does(max_late_load: float) -> None:
    """Where late replies are learnt from, one that a hedge gives counts; else both are stopped."""

    async def scenario() -> Scene:
        scene = scene_of(USUAL_S, num_live=2, max_late_load=max_late_load)
        for _ in range(100):
            await scene.search()
        slow = NUM_SHARDS - 1
        scene.transport.scripts[slow] = Script(delays_s=())
        scene.transport.hedge_scripts[slow] = Script(delays_s=(0.3,))
        result = await scene.search()
        assert result.outcomes[Outcome.TIMED_OUT] == 1
        await asyncio.sleep(1)
        return scene

    scene = run_virtually(scenario())
    assert len(scene.transport.hedged) == 1
    assert scene.searcher.hedger.counts.lost_while_running == 1
    gain = gain_of(scene.curve, DEADLINE_MS)
    if max_late_load:
        assert scene.transport.cancelled == []
        assert gain is not None
        assert gain.coverage == pytest.approx(1)
    else:
        assert [shards for _, shards, _ in scene.transport.cancelled] == [(NUM_SHARDS - 1,)]
        assert gain is None


def test_no_time_helps_a_shard_that_fails() -> None:
    """A failure counts as missing, in time or late: three of four stay so when the last comes."""

    async def scenario(delay_s: float) -> float:
        scene = scene_of(0.34)
        script = scene.transport.scripts[NUM_SHARDS - 1]
        for one in (*[Script(delays_s=(delay_s,), kind="failed")] * 3, script):
            scene.transport.scripts[NUM_SHARDS - 1] = one
            await scene.search()
        await asyncio.sleep(1)
        return scene.curve.coverage(DEADLINE_MS * FARTHEST)

    assert run_virtually(scenario(USUAL_S)) == pytest.approx(1 - 3 / 16)
    assert run_virtually(scenario(0.32)) == pytest.approx(1 - 3 / 16)


def ended(uid: str, query_id: int, late_s: float = 0.0, code: str = "") -> EndedSearch:
    """A query over two shards, now; the second has timed out, or failed with a code."""
    now = asyncio.get_running_loop().time()
    gather = Gather(range(2), lambda _body: reply_body())
    gather.on_reply(reply_of(query_id, 0, Script()), "w", now)
    gather.end(Outcome.FAILED if code else Outcome.TIMED_OUT, "scripted", code)
    unused: Any = None
    search = PlannedSearch(
        query=SearchQuery("things", "x", deadline_ms=0),
        admitted=unused,
        permit=unused,
        plan=unused,
        payload=SearchPayload(uid, "x", 10, "noop", "", strict=False),
        is_heavy=False,
        started=now,
        deadline=now,
    )
    late_ms = round(late_s * 1000)
    request = Request(Kind.SEARCH, query_id, 0, 0, "here", b"", late_ms=late_ms)
    heavy = HeavyQuery(None, ())
    return EndedSearch(search, request, gather, None, heavy, now, now, now, is_sampled=True)


def reply_body() -> Any:
    """What a shard of ten documents answers."""
    return type("Body", (), {"documents": 10})()


def test_a_query_that_is_itself_at_fault_says_nothing() -> None:
    """A shard that refuses the query for its own sake is not missing from the curve."""

    async def scenario() -> list[tuple[float, float]]:
        curves = CoverageCurves(CoverageSettings(), lambda: ["u"])
        curves.on_end(ended("u", 1, code="bad_request"), COUNTS)
        return curves.curve("u").curve()

    assert run_virtually(scenario()) == []


def test_collections_that_are_dropped_take_their_curves_with_them() -> None:
    """However many come and go, there are curves only of those that there are."""

    async def scenario() -> None:
        there: set[str] = set()
        curves = CoverageCurves(CoverageSettings(), lambda: there)
        for number in range(50):
            there.clear()
            there.update({f"u{number}", "stays"})
            for uid in sorted(there):
                curves.on_end(ended(uid, number), COUNTS)
            assert len(curves) == len(there) or number == 0
        assert curves.curve("stays").curve()
        assert curves.curve("u0").curve() == []

    run_virtually(scenario())


def test_memory_is_bounded_while_nothing_answers() -> None:
    """Queries that wait for late replies are few, and none is kept once no reply can come."""

    async def scenario() -> None:
        curves = CoverageCurves(CoverageSettings(max_late_load=1.0), lambda: ["u"])
        for query_id in range(2 * MAX_TRACKED):
            curves.on_end(ended("u", query_id, late_s=1.0), COUNTS)
        assert len(curves._late) == MAX_TRACKED
        await asyncio.sleep(1)
        curves.curve("u")
        assert len(curves._late) == 0
        late = reply_of(2 * MAX_TRACKED - 1, 1, Script())
        assert late.status == Status.OK
        before = curves.curve("u").curve()
        curves.on_late(late)
        assert curves.curve("u").curve() == before

    run_virtually(scenario())
