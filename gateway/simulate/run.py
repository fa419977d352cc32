"""Runs a scenario: the real `Searcher` with its policies, in virtual time."""

import asyncio
import math
import random
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hedgerow.common.collection import Collection
from hedgerow.common.errors import InsufficientCoverageError, OverloadedError
from hedgerow.common.outcome import Outcome
from hedgerow.common.redis.server_clock import ServerClock
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.gateway.policies.admission import Admission
from hedgerow.gateway.policies.breaker import State, Transition
from hedgerow.gateway.search.coverage.late_replies import CoverageCurves
from hedgerow.gateway.search.guards.breakers import Breakers
from hedgerow.gateway.search.guards.heavy_work import HeavyWork
from hedgerow.gateway.search.guards.profile_guards import Guards, ProfileGuards
from hedgerow.gateway.search.learning import Learning
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.search_settings import SearchSettings
from hedgerow.gateway.search.searcher import Searcher
from hedgerow.gateway.simulate.distributions import Constant
from hedgerow.gateway.simulate.event_loop import VirtualLoop
from hedgerow.gateway.simulate.faults import ScriptedView, script_faults
from hedgerow.gateway.simulate.jobs import Job, Totals
from hedgerow.gateway.simulate.scenario import Closed, Run
from hedgerow.gateway.simulate.shards import SeparateShard, Shard, TiedShard
from hedgerow.gateway.simulate.transport import ScriptedTransport, answered
from hedgerow.gateway.transport.messenger import Messenger

_COLLECTION = Collection(name="simulated", uid="simulated", fields={}, rank_profile="noop")
_PROFILES = {"noop": RankProfile(first_phase="noop", lane="loop")}


@dataclass(slots=True)
class Observed:
    """What was observed in one run.

    Attributes:
        took_ms: of each counted query with an answer, even a partial one, in the order of answers.
        fractions: the coverage of each of these answers.
        refused_ms: how long each refused query took.
        refusals: cause → number of refused queries.
        outcomes: outcome → number of shards' parts.
        num_left: queries whose caller left before the answer.
        opened: how often a breaker opened.
        hedges: the ends of second copies of searches, as `status` counts them.
        duration_s: virtual time of the whole run, including the warm-up.
    """

    took_ms: "array[float]" = field(default_factory=lambda: array("d"))
    fractions: "array[float]" = field(default_factory=lambda: array("d"))
    refused_ms: "array[float]" = field(default_factory=lambda: array("d"))
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    opened: int = 0
    num_left: int = 0
    duration_s: float = 0.0
    totals: Totals = field(default_factory=Totals)
    reply_s: "array[float]" = field(default_factory=lambda: array("d"))
    marks_s: "list[array[float]]" = field(default_factory=list)
    num_late: int = 0
    hedges: dict[str, int] = field(default_factory=dict)

    def add(self, transport: ScriptedTransport, hedges: Mapping[str, int]) -> None:
        """Add what one gateway has observed."""
        self.reply_s.extend(transport.reply_s)
        for times, its_own in zip(self.marks_s, transport.marks_s, strict=True):
            times.extend(its_own)
        self.num_late += transport.num_late
        for end, number in hedges.items():
            self.hedges[end] = self.hedges.get(end, 0) + number


class _Gateway:
    """One gateway of a run, with policies of its own."""

    def __init__(
        self,
        run: Run,
        loop: VirtualLoop,
        observed: Observed,
        view: ScriptedView,
        rng: Callable[[str], random.Random],
    ) -> None:
        admission = Admission(run.shards.count, run.admission)
        self.transport = ScriptedTransport(run, loop, observed.totals, rng, admission.on_backlog)
        self._observed = observed
        breakers = Breakers(
            run.shards.count,
            run.breaker,
            rng("breakers").random,
            self._on_transition,
            replied_at=admission.replied_at,
        )
        if run.breakers == "off":
            for breaker in breakers:
                breaker.disable(loop.time())
        self.searcher = Searcher(
            Messenger(self.transport, ServerClock(), "simulated", iter(range(1, 1 << 62)).__next__),
            view,
            ProfileGuards(
                Guards(breakers, admission),
                heavy=HeavyWork(admission.replied_at, heavy_s=math.inf, grace_s=0.0, now=0.0),
            ),
            SearchSettings(
                gateway=run.gateway,
                limits=QuerySettings(),
                profiles=_PROFILES,
                hedging=run.hedging,
                coverage=run.coverage,
            ),
            Learning(
                # Scenarios exclude work that continues after its deadline, to learn from.
                CoverageCurves(run.coverage.model_copy(update={"max_late_load": 0.0}), tuple),
                rng=rng("searcher").random,
            ),
        )

    def _on_transition(self, shard: int, transition: Transition) -> None:
        del shard
        if transition.after is State.OPEN:
            self._observed.opened += 1


class _Asker:
    """Asks a run's queries, and records the observations."""

    def __init__(self, run: Run, seed: int, timing_seed: int, loop: VirtualLoop) -> None:
        def rng(purpose: str) -> random.Random:
            # A stream for each purpose, so that runs that differ in one thing share the other
            # draws.
            is_timing = purpose.startswith("network/")
            return random.Random(f"{timing_seed if is_timing else seed}/{purpose}")

        self.observed = Observed(marks_s=[array("d") for _ in run.marks])
        self._run = run
        self._loop = loop
        self._num_asked = 0
        self._query = SearchQuery(
            collection=_COLLECTION.name,
            query="*",
            k=run.query.k,
            deadline_ms=run.query.deadline_ms,
            fields=run.query.fields,
            minimum_coverage=run.query.minimum_coverage,
            wait_for=run.query.wait_for,
            priority=run.query.priority,
        )
        view = ScriptedView(run)
        self._gateways = [
            _Gateway(run, loop, self.observed, view, _of_gateway(number, rng))
            for number in range(run.gateways)
        ]
        shards = make_shards(run, loop, self.observed.totals, answered, rng)
        for gateway in self._gateways:
            gateway.transport.shards = shards
        script_faults(run, shards, view, loop, rng)
        self._choices = rng("gateways")
        self._arrivals = rng("arrivals")
        self._leaving = rng("query/hang_up")
        self._leaves_after_s = run.query.hang_up_after.sampler(self._leaving)

    async def ask_all(self) -> Observed:
        """Ask all queries, and wait for all answers."""
        arrivals = self._run.arrivals
        async with asyncio.TaskGroup() as group:
            if isinstance(arrivals, Closed):
                think_s = arrivals.think.sampler(self._arrivals)
                for _ in range(arrivals.callers):
                    group.create_task(self._call(think_s))
            else:
                gap_s = 1 / arrivals.rate_per_s
                draw, due = self._arrivals.expovariate, 0.0
                for _ in range(self._run.warmup + self._run.queries):
                    due += draw(arrivals.rate_per_s) if arrivals.kind == "poisson" else gap_s
                    await self._loop.sleep_until(due)
                    group.create_task(self._ask())
        self.observed.duration_s = self._loop.time()
        for gateway in self._gateways:
            self.observed.add(gateway.transport, gateway.searcher.hedger.as_dict())
        return self.observed

    async def _call(self, think_s: Callable[[], float]) -> None:
        while self._num_asked < self._run.warmup + self._run.queries:
            await self._ask()
            if pause_s := think_s():
                await self._loop.sleep_until(self._loop.time() + pause_s)

    async def _ask(self) -> None:
        self._num_asked += 1
        is_counted = self._num_asked > self._run.warmup
        started = self._loop.time()
        hang_up = self._run.query.hang_up
        leaves = hang_up and self._leaving.random() < hang_up
        gateway = self._choices.choice(self._gateways)
        try:
            async with asyncio.timeout(self._leaves_after_s() if leaves else None):
                result = await gateway.searcher.search(self._query, _COLLECTION)
        except InsufficientCoverageError as error:
            result = error.result
        except TimeoutError:
            self.observed.num_left += is_counted
            return
        except OverloadedError as error:
            if is_counted:
                self.observed.refusals[error.cause] += 1
                self.observed.refused_ms.append((self._loop.time() - started) * 1000)
            return
        if is_counted:
            self._keep(result)

    def _keep(self, result: SearchResult) -> None:
        observed = self.observed
        observed.took_ms.append(result.took_ms)
        observed.fractions.append(result.coverage.fraction)
        for outcome, number in result.outcomes.items():
            if number:
                observed.outcomes[outcome] += number


def _of_gateway(number: int, rng: Callable[[str], random.Random]) -> Callable[[str], random.Random]:
    """Return the streams of one gateway; those of the first are named as if it were alone."""
    return (lambda purpose: rng(f"{purpose}/{number}")) if number else rng


def observe(run: Run, seed: int, timing_seed: int | None = None) -> Observed:
    """Simulate one run.

    Args:
        run: the script.
        seed: seed of the random numbers.
        timing_seed: seed for the network and late timers; None for `seed`. With a different one,
            the same queries meet the same work and the same faults.

    Returns:
        The observations; the same for the same run and seeds.
    """
    timing = seed if timing_seed is None else timing_seed
    is_late = run.late != Constant(kind="constant", ms=0)
    loop = VirtualLoop(run.late.sampler(random.Random(f"{timing}/late")) if is_late else None)

    async def ask_all() -> Observed:
        return await _Asker(run, seed, timing, loop).ask_all()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(ask_all())


def make_shards(
    run: Run,
    loop: VirtualLoop,
    totals: Totals,
    on_answer: Callable[[Job], None],
    rng: Callable[[str], random.Random],
) -> list[Shard]:
    """Make the shards of a run with their servers, which report their answers to `on_answer`."""
    shards: list[Shard] = []
    for number in range(run.shards.count):
        own = rng(f"shards/{number}")
        parts = (number, run.shards, loop, totals)
        service = run.shards.service.sampler(own)
        again = run.shards.service.sampler(rng(f"again/{number}"))
        if run.shards.queue == "shared":
            shards.append(Shard(*parts, service, again, on_answer))
        else:
            kind = TiedShard if run.shards.queue == "tied" else SeparateShard
            choices = rng(f"choices/{number}")
            shards.append(kind(*parts, service, again, on_answer, choices))
        _make_different(run, shards[-1], own)
    return shards


def _make_different(run: Run, shard: Shard, rng: random.Random) -> None:
    for different in run.different:
        if different.shards is not None and shard.number not in different.shards:
            continue
        for replica, server in enumerate(shard.servers):
            if different.replica is not None and different.replica != replica:
                continue
            if different.service is not None:
                server.service = different.service.sampler(rng)
                shard.draws_early = False
            if different.is_stoppable is not None:
                server.is_stoppable = different.is_stoppable
