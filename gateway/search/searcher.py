"""The walk of one query: admit, plan, scatter, gather, merge, fetch, respond."""

import asyncio
from collections.abc import Mapping

from hedgerow.common.collection import Collection
from hedgerow.common.errors import HedgerowError, OverloadedError, raise_if
from hedgerow.common.outcome import SEARCHED
from hedgerow.common.runtime.alarms import Alarms
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.wire.messages import Kind, SearchPayload
from hedgerow.gateway.policies.admission import Admission
from hedgerow.gateway.policies.admission_permit import AdmissionPermit
from hedgerow.gateway.policies.hedging import HedgePolicy
from hedgerow.gateway.policies.latency import AnswerReserve
from hedgerow.gateway.search.answer import Bodies, Found, bodies_of, make_answer, with_facets
from hedgerow.gateway.search.documents.answer_memory import AnswerMemory
from hedgerow.gateway.search.documents.fetch import Fetcher
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.guards.profile_guards import Guards, ProfileGuards
from hedgerow.gateway.search.hedger import Hedger
from hedgerow.gateway.search.hit_documents import HitDocuments, without_documents
from hedgerow.gateway.search.in_flight import InFlight
from hedgerow.gateway.search.learning import Learning
from hedgerow.gateway.search.merge import merge
from hedgerow.gateway.search.options.replies import reader_of
from hedgerow.gateway.search.options.sorting import merge_ordered
from hedgerow.gateway.search.plan import NONE_SKIPPED, Skipped, make_plan, without_candidate
from hedgerow.gateway.search.planned_search import PlannedSearch
from hedgerow.gateway.search.result import Hit, SearchQuery, SearchResult
from hedgerow.gateway.search.scatter_gather import ScatterGather
from hedgerow.gateway.search.search_checker import SearchChecker
from hedgerow.gateway.search.search_settings import SearchSettings
from hedgerow.gateway.search.skipping.exactness import Exactness
from hedgerow.gateway.search.skipping.skipper import Skipper
from hedgerow.gateway.search.top_up import is_shared, may_have_more, num_asked, of_share
from hedgerow.gateway.search.validation import Admitted
from hedgerow.gateway.search.view import View
from hedgerow.gateway.search.walk import SearchTrace, Walk
from hedgerow.gateway.search.walks import Walks, walk_of
from hedgerow.gateway.transport.messenger import Messenger


class Searcher:
    """Answers searches by their deadline, with the replies that have arrived.

    Attributes:
        checker: checks searches before any shard is asked.
        hedger: sends second copies of searches.
        fetcher: reads documents.
    """

    def __init__(
        self,
        messenger: Messenger,
        view: View,
        guards: ProfileGuards,
        settings: SearchSettings,
        learning: Learning,
        walks: Walks | None = None,
        skipper: Skipper | None = None,
    ) -> None:
        """Search over `messenger`, asking the shards that `view` and `guards` let through.

        Args:
            messenger: the way to the shards.
            view: the state of the cluster.
            guards: admission control and the breakers.
            settings: what a search may ask for, and how it is run.
            learning: learns from a sample of the searches.
            walks: logs and traces where the time of searches went; None for neither.
            skipper: finds the shards that need not be asked; None to ask all.
        """
        num_shards = len(guards.shared.breakers)
        self.fetcher = Fetcher(
            messenger,
            Hedger(
                Kind.FETCH, messenger.transport, HedgePolicy(settings.hedging, num_shards), view
            ),
            memory=AnswerMemory(settings.gateway.max_held_bytes),
            max_answer_bytes=settings.gateway.max_answer_bytes,
        )
        walks = walks or Walks(slow_ms=0)
        self.checker = SearchChecker(view, settings)
        self._scatter_gather = ScatterGather(
            messenger, view, guards, settings, learning, walks, self.fetcher.reserve
        )
        self.hedger = self._scatter_gather.hedger
        self._documents = HitDocuments(self.fetcher, settings.profiles, walks)
        self._view = view
        self._guards = guards
        self._settings = settings
        self._walks = walks
        self._skipper = skipper or Skipper.of_none()
        self._answer_reserve = AnswerReserve()
        self._in_flight = InFlight()
        self._alarms = Alarms()
        self._coming: dict[Admission, int] = {}  # queries that `refusal_of` has let pass this turn
        self._loop = asyncio.get_running_loop()

    @property
    def num_in_flight(self) -> int:
        """How many searches have been admitted and are not answered."""
        return self._in_flight.num

    async def search(self, query: SearchQuery, collection: Collection) -> SearchResult:
        """Answer one query.

        Raises:
            BadRequestError: the query cannot be answered by any shard.
            OverloadedError: overload would keep it from being answered in time; no shard was asked.
            InsufficientCoverageError: the answer reflects less than the caller demands, or nothing
                at all; it carries the result.
        """
        started = self._loop.time()
        guards = self._guards_of(query, collection)
        # Before the query is analysed, which costs more than a refusal.
        raise_if(guards.admission.refusal_of(query.priority, query.caller, query.peer, started))
        admitted = self.checker.check(query, collection)
        permit = self._admit(query, collection, guards.admission, started)
        self._in_flight.begin()
        trace = self._walks.begin(query, started)
        search = gather = None
        try:
            skipped = NONE_SKIPPED
            if query.candidates:
                skipped = without_candidate(query.candidates, len(self._view.live))
            elif excluded := self._skipper.excluded(query, collection, admitted, started):
                skipped = Skipped(await self._skipper.confirmed(excluded, query.deadline_ms / 1000))
            search = self._plan(query, collection, admitted, permit, started, trace, skipped)
            read = reader_of(search.payload.options)
            gather = Gather(search.plan.shards, read, self._alarms)
            await self._scatter_gather.run(search, gather)
            gathered_at = self._loop.time() if gather.is_sampled else 0.0
            hits, bodies = self._merge(search, gather)
            if shards := may_have_more(hits, bodies, search.payload.k, query.num_ranked):
                await self._scatter_gather.ask_again(search, shards, gather)
                hits, bodies = self._merge(search, gather)
            exactness = None
            if gather.num_ok < len(search.plan.breakers.shards):
                exactness = await self._exactness(search, collection, gather, hits)
            hits = hits[query.offset :]
            if query.reads_documents:
                found = await self._documents.fetch(search, hits, bodies, gathered_at)
            else:
                found = without_documents(hits, bodies, gathered_at)
            if admitted.wanted.facets:
                found = await with_facets(found, admitted.wanted.facets)
        except BaseException as error:
            permit.done(ended_at := self._loop.time())
            self._in_flight.end()
            # No variable for the walk: it has the error, whose traceback has this frame.
            self._walks.end(
                Walk(query, trace, started, ended_at, error=error)
                if search is None
                else walk_of(search, gather, ended_at, error=error)
            )
            raise
        permit.done(ended_at := self._loop.time())
        self._in_flight.end()
        return self._respond(search, gather, found, ended_at, exactness)

    def refusal_of(self, query: SearchQuery, collection: Collection) -> OverloadedError | None:
        """Return a refusal if there is no room for a query; otherwise None.

        If it is None, `search` must be called for the query in the next turn of the loop: hundreds
        may arrive in one turn, and those before this one are not counted as in flight yet.
        """
        admission = self._guards_of(query, collection).admission
        num_coming = self._coming.get(admission, 0)
        now = self._loop.time()
        refusal = admission.refusal_of(query.priority, query.caller, query.peer, now, num_coming)
        if refusal is None:
            if not self._coming:
                self._loop.call_soon(self._coming.clear)
            self._coming[admission] = num_coming + 1
        return refusal

    def use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        """From now on, rank by these; searches that have begun end as they began."""
        self._settings = self._settings._replace(profiles=profiles)
        self.checker.use_profiles(profiles)
        self._scatter_gather.use_profiles(profiles)
        self._documents.use_profiles(profiles)
        self._skipper.use_profiles(profiles)

    async def drain(self, timeout_s: float) -> None:
        """Wait until no query is in flight, for at most `timeout_s`."""
        await self._in_flight.drain(timeout_s)

    def close(self) -> None:
        """Send no more second copies."""
        self.hedger.close()
        self.fetcher.hedger.close()

    def _guards_of(self, query: SearchQuery, collection: Collection) -> Guards:
        return self._guards.of(query.rank_profile or collection.rank_profile)

    def _admit(
        self, query: SearchQuery, collection: Collection, admission: Admission, now: float
    ) -> AdmissionPermit:
        return admission.admit(
            query.priority,
            query.deadline_ms / 1000,
            query.minimum_coverage,
            self._view.live,
            self._view.counts_of(collection.uid),
            now,
            caller=query.caller,
            peer=query.peer,
        )

    def _plan(
        self,
        query: SearchQuery,
        collection: Collection,
        admitted: Admitted,
        permit: AdmissionPermit,
        started: float,
        trace: SearchTrace | None,
        skipped: Skipped,
    ) -> PlannedSearch:
        """Choose the shards to ask, and how many hits to ask for."""
        breakers = self._guards.of(admitted.profile).breakers
        plan = make_plan(self._view.live, breakers, started, skipped, self._view.no_worker)
        counts = self._view.counts_of(collection.uid)
        is_heavy = self._guards.heavy.is_heavy(admitted.cost, counts)
        k, options = query.num_ranked, admitted.options
        # A shard's next hit may be of a group of which another has a better one, and so on.
        if (
            not is_heavy and not query.group_by
        ):  # running a heavy query twice would cost more than all the hits
            profile = self._settings.profiles[admitted.profile]
            num_shards, num_open = len(breakers.shards), len(plan.shards)
            k = num_asked(k, num_shards, num_open, profile)
            if options is not None and is_shared(num_shards, num_open, profile):
                options = of_share(options, num_shards)
        payload = SearchPayload(
            uid=collection.uid,
            query=query.query,
            k=k,
            profile=admitted.profile,
            filter=query.filter,
            strict=query.syntax == "strict",
            options=options,
        )
        deadline_s = query.deadline_ms / 1000
        deadline = started + deadline_s - self._answer_reserve.reserve_s(deadline_s)
        return PlannedSearch(
            query, admitted, permit, plan, payload, is_heavy, started, deadline, trace
        )

    def _merge(self, search: PlannedSearch, gather: Gather) -> tuple[list[Hit], Bodies]:
        """The best hits of all shards, and the shards' replies."""
        bodies = bodies_of(gather)
        query, options = search.query, search.payload.options
        if options is None:
            return merge(bodies, query.num_ranked), bodies
        is_grouped = bool(options.group_by)
        return merge_ordered(bodies, query.num_ranked, options.sort, is_grouped=is_grouped), bodies

    async def _exactness(
        self, search: PlannedSearch, collection: Collection, gather: Gather, hits: list[Hit]
    ) -> Exactness | None:
        """Why the missing shards could not have changed the hits; None if they could."""
        shards, results = search.plan.breakers.shards, gather.results
        missing = [
            shard
            for shard in shards
            if (results[shard].outcome if shard in results else search.plan.not_asked[shard][0])
            not in SEARCHED
        ]
        if not missing:
            return None
        return await self._skipper.exactness(
            search.query, collection, search.admitted, missing, hits
        )

    def _respond(
        self,
        search: PlannedSearch,
        gather: Gather,
        found: Found,
        now: float,
        exactness: Exactness | None,
    ) -> SearchResult:
        if now > search.deadline:
            self._answer_reserve.record(now - search.deadline, now)
        counts = self._view.counts_of(search.payload.uid)
        try:
            result = make_answer(search, gather, found, counts, now, exactness)
        except HedgerowError as error:
            self._walks.end(walk_of(search, gather, now, found.fetch_walk, error))
            raise
        self._walks.answered(search, gather, now, found.fetch_walk)
        return result
