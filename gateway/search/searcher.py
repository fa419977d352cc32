"""The walk of one query: admit, plan, scatter, gather, merge, fetch, respond."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Final, Protocol

from msgspec.structs import replace

from hedgerow.common.collection import Collection
from hedgerow.common.errors import (
    BadQueryError,
    BadRequestError,
    InsufficientCoverageError,
    OverloadedError,
)
from hedgerow.common.outcome import Outcome
from hedgerow.common.redis.server_clock import ServerClock
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.settings import GatewaySettings, RankProfile
from hedgerow.common.settings.tail import CoverageSettings, HedgingSettings
from hedgerow.common.wire.messages import (
    Kind,
    Lane,
    Request,
    SearchBody,
    SearchPayload,
    pack_body,
    pack_request,
    unpack_search_body,
)
from hedgerow.gateway.policies.adaptive_timeout import AdaptiveTimeout
from hedgerow.gateway.policies.admission import Admission, AdmissionPermit
from hedgerow.gateway.policies.hedging import HedgePolicy
from hedgerow.gateway.policies.latency import AnswerReserve
from hedgerow.gateway.policies.shard_result import NO_TIME
from hedgerow.gateway.search.answer_memory import AnswerMemory, Lease
from hedgerow.gateway.search.attaching import NO_ATTACHING, AttachPolicy, take_attached
from hedgerow.gateway.search.breakers import Breakers
from hedgerow.gateway.search.canary import Canary
from hedgerow.gateway.search.coverage import count_outcomes, measure_coverage
from hedgerow.gateway.search.fetch import Fetcher
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.guards import Guards
from hedgerow.gateway.search.heavy_work import HeavyWork
from hedgerow.gateway.search.hedger import Hedger, Watched
from hedgerow.gateway.search.late_replies import CoverageCurves, Ended
from hedgerow.gateway.search.merge import merge
from hedgerow.gateway.search.plan import Plan, make_plan
from hedgerow.gateway.search.result import Hit, SearchQuery, SearchResult
from hedgerow.gateway.search.sampling import Sampler
from hedgerow.gateway.search.top_up import TopUp, may_have_more, num_asked, topped_up
from hedgerow.gateway.search.validation import Admitted, admit
from hedgerow.gateway.shapes.answer import Fetch, ShardDetail, TotalHits
from hedgerow.gateway.transport.protocol import Transport

# An enum's member is looked up through a descriptor in Python 3.11: five times a global's price.
_OK: Final = Outcome.OK
_SEARCH: Final = Kind.SEARCH
_UNRANKED = (
    "{} candidates were not ranked: the documents for a shard's second phase exceed "
    "limits.max_candidate_bytes"
)
SAMPLES_PER_S = 200.0  # queries that are learnt from; more say no more
_LANE_NAMES = {lane.value: "" if lane is Lane.NONE else lane.name.lower() for lane in Lane}


class View(Protocol):
    """What a search needs to know of the cluster."""

    @property
    def live(self) -> Sequence[bool]:
        """For each shard, whether a live worker serves it."""

    @property
    def num_live(self) -> Sequence[int]:
        """For each shard, how many live workers serve it."""

    @property
    def most_live(self) -> int:
        """The most live workers that any shard has."""

    @property
    def died_at(self) -> Sequence[float]:
        """For each shard, when it was noticed last that a worker of it had died; event loop's s."""

    def workers_of(self, shard: int) -> list[str]:
        """The live workers that take a shard's requests."""

    def counts_of(self, uid: str) -> Sequence[int | None]:
        """For each shard, how many documents of a collection it last reported; None if never."""


class Searcher:
    """Answers searches by their deadline with what has arrived."""

    def __init__(
        self,
        transport: Transport,
        clock: ServerClock,
        reply_to: str,
        next_id: Callable[[], int],
        view: View,
        breakers: Breakers,
        admission: Admission,
        settings: GatewaySettings,
        limits: QuerySettings,
        heavy: HeavyWork,
        profiles: dict[str, RankProfile],
        hedging: HedgingSettings,
        coverage: CoverageSettings,
        curves: CoverageCurves,
        rng: Callable[[], float] = random.random,
        learn: Callable[[Gather, Request, float], None] = lambda *_: None,
        own_guards: Mapping[str, Guards] = MappingProxyType({}),
        attaching: AttachPolicy = NO_ATTACHING,
    ) -> None:
        """Search over `transport`, asking the shards that `view` and `breakers` let through.

        Profiles in `own_guards` have breakers and admission control of their own. `attaching` says
        which documents the replies bring along.
        """
        num_shards = len(breakers)
        self.hedger = Hedger(_SEARCH, transport, HedgePolicy(hedging, num_shards), view)
        self._guards = Guards(breakers, admission)
        self._own_guards = own_guards
        self._attaching = attaching
        self._coverage = coverage
        self._curves = curves
        self._sampler = Sampler(SAMPLES_PER_S, rng)
        self._learn = learn
        self.num_in_flight = 0
        self._coming: dict[Admission, int] = {}  # what `refusal_of` has let pass in this turn
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._answer_reserve = AnswerReserve()
        self.fetcher = Fetcher(
            transport,
            clock,
            reply_to,
            next_id,
            Hedger(Kind.FETCH, transport, HedgePolicy(hedging, num_shards), view),
            memory=AnswerMemory(settings.max_held_bytes),
            max_answer_bytes=settings.max_answer_bytes,
        )
        self._transport = transport
        self._clock = clock
        self._reply_to = reply_to
        self._next_id = next_id
        self._view = view
        self._shards = breakers.shards
        self._limits = limits
        self._heavy = heavy
        self._profiles = profiles
        self._canary = Canary(profiles, transport, clock)
        self._top_up = TopUp(transport, clock, reply_to, next_id, self.hedger)
        self._loop = asyncio.get_running_loop()

    async def search(self, query: SearchQuery, collection: Collection) -> SearchResult:
        """Answer one query.

        Raises:
            BadRequestError: the query cannot be answered by any shard.
            OverloadedError: it could not be answered in time; no shard was asked.
            InsufficientCoverageError: the answer reflects less than the caller demands, or nothing
                at all; it carries the result.
        """
        started = self._loop.time()
        # Ahead of the query's analysis, which costs more than a refusal.
        admission = self._admission_of(query, collection)
        refusal = admission.refusal_of(query.priority, query.caller, query.peer, started)
        if refusal is not None:
            raise refusal
        admitted = admit(query, collection, self._limits, self._profiles)
        deadline_s = query.deadline_ms / 1000
        deadline = started + deadline_s - self._answer_reserve.reserve_s(deadline_s)
        guards = self._own_guards.get(admitted.profile, self._guards)
        permit = admission.admit(
            query.priority,
            deadline_s,
            query.minimum_coverage,
            self._view.live,
            self._view.counts_of(collection.uid),
            started,
            caller=query.caller,
            peer=query.peer,
        )
        self.num_in_flight += 1
        self._is_idle.clear()
        try:
            plan = make_plan(self._view.live, guards.breakers, started)
            profile = self._profiles[admitted.profile]
            k = num_asked(query.k, len(self._shards), len(plan.shards), profile)
            if k < query.k and self._heavy.is_heavy(
                admitted.cost, self._view.counts_of(collection.uid)
            ):
                k = query.k  # to run it twice would cost more than all the hits
            payload = SearchPayload(
                uid=collection.uid,
                query=query.query,
                k=k,
                profile=admitted.profile,
                filter=query.filter,
                strict=query.syntax == "strict",
            )
            gather = await self._scatter_gather(
                query, collection, admitted, payload, plan, permit, deadline
            )
            bodies = _bodies_of(gather)
            hits = merge(bodies, query.k)
            if k < query.k and (shards := may_have_more(hits, bodies, k)):
                await self._ask_again(query, payload, shards, gather, deadline)
                bodies = _bodies_of(gather)
                hits = merge(bodies, query.k)
            take_attached(hits, bodies)
            lease = self.fetcher.memory.lease(query.caller.party(query.peer))
            fetch = await self._fetch(query, collection, admitted.profile, hits, deadline, lease)
        finally:
            permit.done(self._loop.time())
            self.num_in_flight -= 1
            if not self.num_in_flight:
                self._is_idle.set()
        if (now := self._loop.time()) > deadline:
            self._answer_reserve.record(now - deadline, now)
        return self._respond(
            query, collection, plan, gather, bodies, hits, fetch, admitted.warnings, started, lease
        )

    def refusal_of(self, query: SearchQuery, collection: Collection) -> OverloadedError | None:
        """Refuse a query for which there is no room, before it is looked at; else return None.

        If it is not refused, `search` is to be called for it in the next turn of the loop: hundreds
        may arrive in one, and those before it have taken no place yet.
        """
        admission = self._admission_of(query, collection)
        num_coming = self._coming.get(admission, 0)
        now = self._loop.time()
        refusal = admission.refusal_of(query.priority, query.caller, query.peer, now, num_coming)
        if refusal is None:
            if not self._coming:
                self._loop.call_soon(self._coming.clear)
            self._coming[admission] = num_coming + 1
        return refusal

    def _admission_of(self, query: SearchQuery, collection: Collection) -> Admission:
        profile = query.rank_profile or collection.rank_profile
        return self._own_guards.get(profile, self._guards).admission

    async def drain(self, timeout_s: float) -> None:
        """Wait until no query is in flight, for at most `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._is_idle.wait()

    def close(self) -> None:
        """Send no more second copies."""
        self.hedger.close()
        self.fetcher.hedger.close()

    async def _scatter_gather(
        self,
        query: SearchQuery,
        collection: Collection,
        admitted: Admitted,
        payload: SearchPayload,
        plan: Plan,
        permit: AdmissionPermit,
        deadline: float,
    ) -> Gather:
        now = sent_at = self._loop.time()
        if query.fields is not False:
            deadline -= self.fetcher.reserve.reserve_s(deadline - now)
        query_id = self._next_id()
        is_sampled = self._sampler.takes(now)
        late_ms = self._curves.late_ms(query.deadline_ms) if is_sampled else 0
        expires_at_ms = self._clock.server_us(deadline) // 1000 + late_ms
        request = Request(
            _SEARCH,
            query_id,
            expires_at_ms,
            self._clock.server_us(now),
            self._reply_to,
            pack_body(payload),
            late_ms=late_ms,
            attach=self._attaching.wish(query, admitted.profile, len(plan.shards)),
        )
        gather = Gather(plan.shards, unpack_search_body)
        trial = self._canary.trial(admitted.profile, request.payload)
        counts = self._view.counts_of(collection.uid)
        heavy = self._heavy.begin(admitted.cost, counts, plan.shards)
        try:
            if deadline <= now:  # a request that has expired is not worth sending
                gather.end(Outcome.TIMED_OUT, "the deadline left no time", NO_TIME)
            elif shards := plan.shards:
                if trial is not None:
                    shards, request = await trial.first(request, shards, gather, deadline)
                if shards:
                    self._send(request, shards, gather, deadline, permit.goes_ahead)
                    if query.wait_for < 1:
                        gather.stop_when(self._until(query, collection, gather, deadline))
                await gather.wait(deadline)
        finally:
            self._transport.release(query_id)
            gather.end(Outcome.CANCELLED, "the caller has left")
            if unwanted := gather.cancelled():
                self._transport.cancel(query_id, unwanted, expires_at_ms)
            if trial is not None:
                trial.close(gather.settled)
            now = self._loop.time()
            plan.breakers.finish(plan.shards, plan.permits, gather.settled, now)
            heavy.end(gather.settled, now)
            if is_sampled:
                self.hedger.learn(gather, now)
                permit.learn(gather.backlogs, gather.settled, sent_at)
                overhead_s = query.deadline_ms / 1000 - (deadline - sent_at)
                counts = self._view.counts_of(collection.uid)  # as they are known by now
                self._curves.on_end(
                    Ended(
                        query_id,
                        collection.uid,
                        gather,
                        counts,
                        sent_at,
                        overhead_s,
                        deadline,
                        late_ms / 1000,
                    ),
                    now,
                )
                self._learn(gather, request, now)
        return gather

    async def _ask_again(
        self,
        query: SearchQuery,
        payload: SearchPayload,
        shards: tuple[int, ...],
        gather: Gather,
        deadline: float,
    ) -> None:
        """Have the parts of `shards` with all their hits."""
        if query.fields is not False:
            deadline -= self.fetcher.reserve.reserve_s(deadline - self._loop.time())
        attach = self._attaching.wish(query, payload.profile, 1)
        asked = replace(payload, k=query.k)
        for shard, part in (await self._top_up.ask(asked, attach, shards, deadline)).items():
            gather.amend(shard, topped_up(gather.settled[shard], part))

    def _send(
        self,
        request: Request,
        shards: tuple[int, ...],
        gather: Gather,
        deadline: float,
        goes_ahead: bool,
    ) -> None:
        message = pack_request(request)
        gather.sent(
            self._transport.scatter(
                _SEARCH, request.query_id, shards, message, gather, goes_ahead=goes_ahead
            )
        )
        now = self._loop.time()
        gather.look_when(
            self.hedger.first_look(len(shards), now, deadline),
            lambda: self.hedger.look(Watched(gather, shards, request, message, now, deadline)),
        )

    def _until(
        self, query: SearchQuery, collection: Collection, gather: Gather, deadline: float
    ) -> Callable[[], float]:
        """Tells, after each reply, until when the rest is waited for."""
        enough = AdaptiveTimeout(query.wait_for, self._coverage)
        counts = self._view.counts_of(collection.uid)
        known = [count for count in counts if count is not None]
        total = round(sum(known) * len(counts) / len(known)) if known else 0

        def until() -> float:
            covered = sum(
                part.body.documents for part in gather.settled.values() if part.outcome is _OK
            )
            num_open, now = gather.num_open, self._loop.time()
            return enough.until(covered, total, num_open, len(gather.asked), now, deadline)

        return until

    async def _fetch(
        self,
        query: SearchQuery,
        collection: Collection,
        profile: str,
        hits: list[Hit],
        deadline: float,
        lease: Lease,
    ) -> Fetch | None:
        if query.fields is False:
            return None
        if not hits:
            return Fetch(0, 0)
        fields = None if query.fields is True else list(query.fields)
        return await self.fetcher.fill(hits, collection.uid, fields, profile, deadline, lease)

    def _respond(
        self,
        query: SearchQuery,
        collection: Collection,
        plan: Plan,
        gather: Gather,
        bodies: list[tuple[int, SearchBody]],
        hits: list[Hit],
        fetch: Fetch | None,
        warnings: tuple[str, ...],
        started: float,
        lease: Lease,
    ) -> SearchResult:
        documents = value = unranked = 0
        is_exact = len(bodies) == len(self._shards)
        for _, body in bodies:
            documents += body.documents
            value += body.total
            is_exact = is_exact and body.is_exact
            unranked += body.unranked
        if unranked:
            warnings = (*warnings, _UNRANKED.format(unranked))
        outcomes = self._outcomes(plan, gather)
        coverage = measure_coverage(outcomes, documents, self._view.counts_of(collection.uid))
        result = SearchResult(
            hits=hits,
            total_hits=TotalHits(value, "eq" if is_exact else "gte"),
            coverage=coverage,
            outcomes=count_outcomes(outcomes),
            detail=[]
            if coverage.is_full and not query.explain
            else self._detail(query, plan, gather, outcomes),
            took_ms=(self._loop.time() - started) * 1000,
            deadline_ms=query.deadline_ms,
            fetch=fetch,
            warnings=warnings,
            lease=lease,
        )
        if not bodies:
            _check_fault(gather)
            raise InsufficientCoverageError("no shard has answered", result)
        if coverage.fraction < query.minimum_coverage:
            raise InsufficientCoverageError(
                f"coverage is {coverage.fraction:.3f}; at least {query.minimum_coverage:g} is "
                "demanded",
                result,
            )
        return result

    def _outcomes(self, plan: Plan, gather: Gather) -> list[Outcome]:
        """How each shard's part ended."""
        settled, shards = gather.settled, self._shards
        if gather.num_ok == len(shards):
            return [_OK] * len(shards)
        return [
            settled[shard].outcome if shard in settled else plan.settled[shard][0]
            for shard in shards
        ]

    def _detail(
        self,
        query: SearchQuery,
        plan: Plan,
        gather: Gather,
        outcomes: list[Outcome],
    ) -> list[ShardDetail]:
        now = self._loop.time()
        details = []
        for shard, outcome in enumerate(outcomes):
            if outcome is _OK and not query.explain:
                continue
            breaker = plan.breakers[shard].state(now).value
            part = gather.settled.get(shard)
            if part is None:
                reason = plan.settled[shard][1]
                details.append(ShardDetail(shard, outcome, reason, breaker=breaker))
                continue
            reply = part.reply
            details.append(
                ShardDetail(
                    shard=shard,
                    outcome=outcome,
                    reason=part.reason,
                    worker=part.worker,
                    lane=_LANE_NAMES.get(reply.lane, "") if reply else "",
                    queue_us=reply.queue_us if reply else 0,
                    lane_us=reply.lane_us if reply else 0,
                    work_us=reply.work_us if reply else 0,
                    took_us=int(part.took_s * 1e6),
                    breaker=breaker,
                    hedged_us=int(gather.hedged.get(shard, 0.0) * 1e6),
                    is_hedge=reply is not None and reply.is_hedge,
                )
            )
        return details


def _bodies_of(gather: Gather) -> list[tuple[int, SearchBody]]:
    """Shard and its reply, of each part that is ok."""
    return [(shard, part.body) for shard, part in gather.settled.items() if part.outcome is _OK]


def _check_fault(gather: Gather) -> None:
    """Check whether the query is at fault that no shard has answered.

    Raises:
        BadRequestError: every shard that was asked says so.
    """
    parts = list(gather.settled.values())
    if parts and all(part.code == BadQueryError.code for part in parts):
        raise BadRequestError("query", parts[0].reason)
