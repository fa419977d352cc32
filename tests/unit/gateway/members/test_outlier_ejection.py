"""Gateways that judge workers together, over a board in memory and scripted workers."""

import asyncio
import itertools
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.tail import ProbationSettings
from hedgerow.common.state.probation import ProbationEntry, ProbationStore
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.common.wire.messages import (
    Failure,
    Kind,
    Lane,
    Reply,
    Request,
    SearchBody,
    Status,
    pack_body,
    unpack_search_body,
)
from hedgerow.gateway.members.outlier_ejection import OutlierEjection
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.result import SearchQuery
from tests.support.virtual_time import run_virtually
from tests.unit.support.heartbeats import beat
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import COLLECTION, searcher_over

BODY = pack_body(SearchBody(1, 1, True, ["a"], [1.0]))
EVIL = pack_body(Failure("crashed", "the process died"))
USUAL_S, SLOW_S, ASKED_EVERY_S = 0.01, 0.1, 0.02
GIVEN_MS, LATE_MS = 200, 70


class Board(ProbationStore):
    """The hash in memory.

    Attributes:
        stored: what is in it.
        num_beaten: swaps to refuse, as if another gateway had been faster.
    """

    def __init__(self) -> None:
        self.stored: dict[str, ProbationEntry] = {}
        self.num_beaten = 0
        self.num_announced = 0

    async def entries(self) -> dict[str, ProbationEntry]:
        """A copy; others may run before it is used."""
        copy = dict(self.stored)
        await asyncio.sleep(0.001)
        return copy

    async def swap(
        self, read: Iterable[str], removed: Iterable[str], put: Mapping[str, ProbationEntry]
    ) -> bool:
        """As the script in Redis does."""
        await asyncio.sleep(0.001)
        if self.num_beaten:
            self.num_beaten -= 1
            return False
        if set(read) != self.stored.keys():
            return False
        for worker in removed:
            self.stored.pop(worker, None)
        self.stored.update(put)
        return True

    async def announce(self) -> None:
        """Count it."""
        self.num_announced += 1


@dataclass
class Members:
    """Every worker serves every shard."""

    workers: dict[str, Heartbeat]
    ejected: frozenset[str] = frozenset()


@dataclass
class Scene:
    """One gateway, and what its queries find.

    Attributes:
        slow: workers that take `SLOW_S`.
    """

    name: str
    board: Board
    members: Members
    num_shards: int = 1
    slow: set[str] = field(default_factory=set)
    transport: ScriptedTransport = field(default_factory=lambda: ScriptedTransport({}))
    settings: ProbationSettings = field(default_factory=ProbationSettings)

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self._rng = random.Random(1)
        self.ejection = OutlierEjection(
            settings=self.settings,
            store=self.board,
            members=self.members,
            num_shards=self.num_shards,
            transport=self.transport,
            next_id=itertools.count(10_000).__next__,
            server_us=lambda now: int(now * 1e6),
            rng=self._rng.random,
            gateway_id=self.name,
        )

    def took_s(self, worker: str) -> float:
        """What a worker takes."""
        return SLOW_S if worker in self.slow else USUAL_S

    def ask(self, failed: Iterable[int] = ()) -> int:
        """One query, each part by any worker that does not rest; returns its id."""
        loop = asyncio.get_running_loop()
        for worker in self.members.workers:
            self.transport.worker_scripts[worker] = Script(delays_s=(self.took_s(worker),))
        gather = Gather(range(self.num_shards), unpack_search_body)
        query_id = next(self._ids)
        takers = [one for one in self.members.workers if one not in self.members.ejected]
        for shard in range(self.num_shards):
            worker = self._rng.choice(takers)
            reply = self._reply(query_id, shard, worker, shard in failed)
            gather.on_reply(reply, worker, loop.time())
        now_us = int(loop.time() * 1e6)
        request = Request(
            Kind.SEARCH,
            query_id,
            now_us // 1000 + LATE_MS,
            now_us - GIVEN_MS * 1000,
            "here",
            b"payload",
            late_ms=LATE_MS,
        )
        self.ejection.learn(gather, request, loop.time())
        return query_id

    def _reply(self, query_id: int, shard: int, worker: str, is_failed: bool) -> Reply:
        work_us = int(self.took_s(worker) * 1e6)
        if is_failed:
            return Reply(query_id, shard, Status.FAILED, Lane.PROCESS, 0, 0, work_us, EVIL)
        return Reply(query_id, shard, Status.OK, Lane.PROCESS, 0, 0, work_us, BODY)


async def run(seconds: float, *scenes: Scene, asked: Iterable[Scene] = ()) -> None:
    """Let gateways judge, while queries come to `asked` of them, or to all."""
    tasks = [asyncio.ensure_future(scene.ejection.run()) for scene in scenes]
    for _ in range(round(seconds / ASKED_EVERY_S)):
        for scene in asked or scenes:
            scene.ask()
        await asyncio.sleep(ASKED_EVERY_S)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def workers(num: int, num_shards: int = 1) -> dict[str, Heartbeat]:
    """This many live workers, each with all shards."""
    return {f"w{n}": beat(f"w{n}", list(range(num_shards)), 0) for n in range(num)}


def test_a_slow_worker_rests_is_tried_and_comes_back() -> None:
    """It rests while its trials are slow, and no longer once they are as quick as the other's."""

    async def scenario() -> None:
        scene = Scene("g", Board(), Members(workers(2)), slow={"w1"})
        await run(10, scene)
        assert scene.members.ejected == {"w1"}
        entry = scene.board.stored["w1"]
        assert entry.gateway == "g"
        assert entry.until_ms > asyncio.get_running_loop().time() * 1000 > entry.since_ms
        assert scene.ejection.entries(entry.until_ms - 1) == {"w1": entry}
        assert scene.ejection.entries(entry.until_ms) == {}
        num_trials = len(scene.transport.sent_to)
        await run(30, scene)
        assert scene.members.ejected == {"w1"}
        assert len(scene.transport.sent_to) > num_trials
        scene.slow.clear()
        await run(30, scene)
        assert scene.members.ejected == frozenset()
        assert scene.board.stored == {}
        assert scene.board.num_announced == 2

    run_virtually(scenario())


def test_trials_are_requests_of_their_own() -> None:
    """Each has an id of its own, as much time as the original had, and the same payload."""

    async def scenario() -> None:
        scene = Scene("g", Board(), Members(workers(2, 2)), num_shards=2, slow={"w1"})
        await run(10, scene)
        trials = scene.transport.sent_to
        assert {worker for worker, _, _ in trials} == {"w1"}
        ids = [request.query_id for _, _, request in trials]
        assert len(set(ids)) == len(ids)
        assert min(ids) >= 10_000  # none is a query's
        for _, at, request in trials:
            assert request.payload == b"payload"
            assert request.late_ms == 0
            assert request.expires_at_ms == pytest.approx(at * 1000 + GIVEN_MS, abs=1)
        shards = [request.hedge.shard for _, _, request in trials if request.hedge]
        assert shards.count(0) == pytest.approx(len(trials) / 2, abs=len(trials) / 5)
        # One after the other: none is sent while the last one runs.
        times = [at for _, at, _ in trials]
        assert all(b - a >= SLOW_S for a, b in itertools.pairwise(times))
        assert scene.transport.num_remembered <= 1

    run_virtually(scenario())


def test_what_has_failed_is_not_copied() -> None:
    """A query that was fatal to one worker is not tried on another."""

    async def scenario() -> None:
        scene = Scene("g", Board(), Members(workers(2)), slow={"w1"})
        await run(10, scene)
        await asyncio.sleep(1)
        num_trials = len(scene.transport.sent_to)
        scene.ask(failed=[0])
        assert len(scene.transport.sent_to) == num_trials
        scene.ask()
        assert len(scene.transport.sent_to) == num_trials + 1

    run_virtually(scenario())


def test_a_worker_that_answers_no_trial_stays() -> None:
    """Trials without a reply count as failures, and leave nothing behind."""

    async def scenario() -> None:
        scene = Scene("g", Board(), Members(workers(2)), slow={"w1"})
        await run(10, scene)
        scene.slow.clear()
        scene.took_s = lambda worker: 1e9 if worker == "w1" else USUAL_S  # type: ignore[method-assign] # so that no trial is answered
        await run(60, scene)
        assert scene.members.ejected == {"w1"}
        assert scene.transport.num_remembered <= 1

    run_virtually(scenario())


@pytest.mark.parametrize("num_beaten", [0, 1])
def test_gateways_that_disagree_stay_within_the_share_together(num_beaten: int) -> None:
    """Of four workers with room for one, two gateways that blame different ones get one."""

    async def scenario() -> None:
        settings = ProbationSettings(max_ejection_percent=25)
        board, members = Board(), workers(4)
        scenes = [
            Scene(f"g{n}", board, Members(members), slow={f"w{n}"}, settings=settings)
            for n in range(2)
        ]
        board.num_beaten = num_beaten
        for _ in range(40):
            await run(1, *scenes)
            assert len(board.stored) <= 1
        assert len(board.stored) == 1
        assert scenes[0].members.ejected == scenes[1].members.ejected == board.stored.keys()

    run_virtually(scenario())


def test_one_gateway_has_a_worker_and_the_others_leave_it_alone() -> None:
    """Where all find it slow, one tries it; once that one lets it go, it is back for all."""

    async def scenario() -> None:
        board, members = Board(), workers(3)
        scenes = [Scene(f"g{n}", board, Members(members), slow={"w2"}) for n in range(2)]
        await run(10, *scenes)
        (entry,) = board.stored.values()
        assert [scene.members.ejected for scene in scenes] == [{"w2"}] * 2
        trying = [scene for scene in scenes if scene.transport.sent_to]
        assert [scene.name for scene in trying] == [entry.gateway]
        for scene in scenes:
            scene.slow.clear()
        await run(30, *scenes)
        assert board.stored == {}
        assert [scene.members.ejected for scene in scenes] == [frozenset()] * 2

    run_virtually(scenario())


def test_the_word_of_a_dead_gateway_ends() -> None:
    """Another one takes the worker back when the ban has expired, and judges it afresh."""

    async def scenario() -> None:
        board, members = Board(), workers(2)
        dying = Scene("g0", board, Members(members), slow={"w1"})
        other = Scene("g1", board, Members(members), slow={"w1"})
        await run(5, dying, other, asked=[dying])
        assert board.stored["w1"].gateway == "g0"
        await run(4, other)
        assert board.stored["w1"].gateway == "g0"
        await run(5, other)
        assert board.stored["w1"].gateway == "g1"

    run_virtually(scenario())


def test_a_gateway_that_is_asked_nothing_lets_go() -> None:
    """A gateway without requests to copy cannot try a worker, but does not ban it for ever."""

    async def scenario() -> None:
        board, members = Board(), workers(2)
        idle = Scene("g0", board, Members(members), slow={"w1"})
        busy = Scene("g1", board, Members(members))
        await run(5, idle, busy, asked=[idle])
        assert board.stored["w1"].gateway == "g0"
        await run(60, idle, busy, asked=[busy])
        assert board.stored == {}

    run_virtually(scenario())


@pytest.mark.parametrize(("num_workers", "expected"), [(2, {"w1"}), (3, set())])
def test_who_lost_to_a_second_copy_is_slow_if_it_is_known(
    num_workers: int, expected: set[str]
) -> None:
    """With two replicas the one that did not win was slow; with three it may have been either."""

    async def scenario() -> None:
        scene = Scene("g", Board(), Members(workers(num_workers)))
        task = asyncio.ensure_future(scene.ejection.run())
        for number in range(400):
            await asyncio.sleep(ASKED_EVERY_S)
            gather = Gather([0], unpack_search_body)
            reply = Reply(number, 0, Status.OK, Lane.PROCESS, 0, 0, 10_000, BODY)
            if number % 2:  # the first copy went to w1
                await asyncio.sleep(0.05)
                reply = replace(reply, is_hedge=True)
            gather.on_reply(reply, "w0", asyncio.get_running_loop().time())
            request = Request(Kind.SEARCH, number, 0, 0, "here", b"")
            scene.ejection.learn(gather, request, asyncio.get_running_loop().time())
        assert scene.members.ejected == expected
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtually(scenario())


def test_a_query_that_is_at_fault_is_no_mark_against_a_worker() -> None:
    """Failures that are the query's own doing are ignored; others count."""

    async def rests(code: str) -> bool:
        scene = Scene("g", Board(), Members(workers(2)))
        task = asyncio.ensure_future(scene.ejection.run())
        body = pack_body(Failure(code, "why"))
        for number in range(200):
            await asyncio.sleep(ASKED_EVERY_S)
            for worker in ("w0", "w1"):
                gather = Gather([0], unpack_search_body)
                reply = Reply(number, 0, Status.OK, Lane.PROCESS, 0, 0, 10_000, BODY)
                if worker == "w1":
                    reply = replace(reply, status=Status.FAILED, body=body)
                gather.on_reply(reply, worker, asyncio.get_running_loop().time())
                assert gather.results[0].outcome in (Outcome.OK, Outcome.FAILED)
                request = Request(Kind.SEARCH, number, 0, 0, "here", b"")
                scene.ejection.learn(gather, request, asyncio.get_running_loop().time())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return bool(scene.members.ejected)

    assert not run_virtually(rests("ranking"))
    assert run_virtually(rests("crashed"))


def test_only_a_sample_of_many_queries_is_learnt_from() -> None:
    """Of 2,000 queries within a second a few hundred are reported; of a few, every one."""

    async def num_told(num_queries: int) -> int:
        told: list[float] = []
        transport = ScriptedTransport({0: Script()})
        searcher = searcher_over(
            transport, [10], observers=[lambda ended: told.append(ended.ended_at)]
        )
        query = SearchQuery("things", "x", fields=False)
        for _ in range(num_queries // 100):
            await asyncio.gather(*(searcher.search(query, COLLECTION) for _ in range(100)))
            await asyncio.sleep(0.03)
        return len(told)

    assert run_virtually(num_told(100)) == 100
    assert run_virtually(num_told(2000)) < 1000
