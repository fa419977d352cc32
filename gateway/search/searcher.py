"""The walk of one query: admit, plan, scatter, gather, merge, fetch, respond."""

import asyncio
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from msgspec.structs import replace

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError, HedgerowError, OverloadedError
from hedgerow.common.outcome import SEARCHED, Outcome
from hedgerow.common.query.synonyms import SynonymRules
from hedgerow.common.runtime.alarms import Alarms
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.wire.messages import Kind, SearchPayload, pack_body
from hedgerow.common.wire.search_options import SYNONYMS_LEVEL
from hedgerow.gateway.policies.adaptive_timeout import AdaptiveTimeout
from hedgerow.gateway.policies.admission import Admission
from hedgerow.gateway.policies.admission_permit import AdmissionPermit
from hedgerow.gateway.policies.hedging import HedgePolicy
from hedgerow.gateway.policies.latency import AnswerReserve
from hedgerow.gateway.search.answer import Bodies, Found, bodies_of, make_answer, with_facets
from hedgerow.gateway.search.documents.answer_memory import AnswerMemory, Lease
from hedgerow.gateway.search.documents.attaching import AttachPolicy, take_attached
from hedgerow.gateway.search.documents.fetch import Fetcher, drop_fields
from hedgerow.gateway.search.documents.fetch_walk import FetchWalk
from hedgerow.gateway.search.ended_search import EndedSearch
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.guards.canary import Canary
from hedgerow.gateway.search.guards.profile_guards import (
    Guards,
    ProfileGuards,
    profiles_with_functions,
)
from hedgerow.gateway.search.hedger import Hedger
from hedgerow.gateway.search.in_flight import InFlight
from hedgerow.gateway.search.learning import Learning
from hedgerow.gateway.search.merge import merge
from hedgerow.gateway.search.observers import Observers
from hedgerow.gateway.search.options.cursor import CursorSigner
from hedgerow.gateway.search.options.highlighting import highlighting_of
from hedgerow.gateway.search.options.replies import reader_of
from hedgerow.gateway.search.options.sorting import merge_ordered
from hedgerow.gateway.search.plan import make_plan
from hedgerow.gateway.search.planned_search import PlannedSearch
from hedgerow.gateway.search.result import Hit, SearchQuery, SearchResult
from hedgerow.gateway.search.scatter import Scatter
from hedgerow.gateway.search.search_settings import SearchSettings
from hedgerow.gateway.search.skipping.exactness import Exactness
from hedgerow.gateway.search.skipping.skipper import NONE, Skipper
from hedgerow.gateway.search.top_up import TopUp, may_have_more, num_asked, topped_up
from hedgerow.gateway.search.validation import (
    Admitted,
    admit,
    check_highlights_level,
    check_level,
    filling_warning,
)
from hedgerow.gateway.search.view import View
from hedgerow.gateway.search.walk import SearchTrace, Walk
from hedgerow.gateway.search.walks import Walks, walk_of
from hedgerow.gateway.shapes.answer import Fetch
from hedgerow.gateway.transport.messenger import Messenger

# An enum's member is looked up through a descriptor in Python 3.11: five times a global's price.
_OK: Final = Outcome.OK
_SEARCH: Final = Kind.SEARCH

_REMOVED: Final = RankProfile()
_OLDER_WORKER: Final = "Synonyms are not found while a worker of an earlier version lives."


def _no_synonyms(_uid: str) -> None:
    """Stands for the synonyms until they are known."""


class Searcher:
    """Answers searches by their deadline, with the replies that have arrived.

    Attributes:
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
        self.hedger = Hedger(
            _SEARCH, messenger.transport, HedgePolicy(settings.hedging, num_shards), view
        )
        self.fetcher = Fetcher(
            messenger,
            Hedger(
                Kind.FETCH, messenger.transport, HedgePolicy(settings.hedging, num_shards), view
            ),
            memory=AnswerMemory(settings.gateway.max_held_bytes),
            max_answer_bytes=settings.gateway.max_answer_bytes,
        )
        self._messenger = messenger
        self._view = view
        self._guards = guards
        self._settings = settings
        self._ranked = frozenset(profiles_with_functions(settings.profiles))
        self._learning = learning
        self._attaching = AttachPolicy(
            settings.profiles, settings.max_attached_bytes, lambda: view.attaches
        )
        self._walks = walks or Walks(slow_ms=0)
        self._skipper = skipper or Skipper.of_none()
        self._signer: CursorSigner | None = None
        self._synonyms_of: Callable[[str], SynonymRules | None] = _no_synonyms
        self._canary = Canary(settings.profiles, messenger)
        self._top_up = TopUp(messenger, self.hedger)
        self._observers = Observers(self.hedger, learning, view.counts_of)
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
        refusal = guards.admission.refusal_of(query.priority, query.caller, query.peer, started)
        if refusal is not None:
            raise refusal
        admitted = self.check(query, collection)
        permit = self._admit(query, collection, guards.admission, started)
        self._in_flight.begin()
        trace = self._walks.begin(query, started)
        search = gather = None
        try:
            skipped = NONE
            if excluded := self._skipper.excluded(query, collection, admitted):
                skipped = await self._skipper.confirmed(excluded, query.deadline_ms / 1000)
            search = self._plan(query, collection, admitted, permit, started, trace, skipped)
            read = reader_of(search.payload.options)
            gather = Gather(search.plan.shards, read, self._alarms)
            await self._scatter_gather(search, gather)
            gathered_at = self._loop.time() if gather.is_sampled else 0.0
            hits, bodies = self._merge(search, gather)
            if shards := may_have_more(hits, bodies, search.payload.k, query.num_ranked):
                await self._ask_again(search, shards, gather)
                hits, bodies = self._merge(search, gather)
            exactness = None
            if gather.num_ok < len(search.plan.breakers.shards):
                exactness = await self._exactness(search, collection, gather, hits)
            found = await self._fetch(search, hits[query.offset :], bodies, gathered_at)
            if admitted.wanted.facets:
                found = await with_facets(found, admitted.wanted.facets)
        except BaseException as error:
            permit.done(ended_at := self._loop.time())
            self._in_flight.end()
            walk = Walk(query, trace, started, ended_at, error=error)
            if search is not None:
                walk = walk_of(search, gather, ended_at, error=error)
            self._walks.end(walk)
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
        self._ranked = frozenset(profiles_with_functions(profiles))
        self._canary.use_profiles(profiles)
        self._attaching.use_profiles(profiles)
        self._skipper.use_profiles(profiles)

    def use_cursor_key(self, key: bytes) -> None:
        """From now on, sign the cursors of pages with this key; without any, refuse them."""
        self._signer = CursorSigner(key)

    def use_synonyms(self, rules_of: Callable[[str], SynonymRules | None]) -> None:
        """From now on, apply the synonyms that this function returns for a collection's uid."""
        self._synonyms_of = rules_of

    async def drain(self, timeout_s: float) -> None:
        """Wait until no query is in flight, for at most `timeout_s`."""
        await self._in_flight.drain(timeout_s)

    def close(self) -> None:
        """Send no more second copies."""
        self.hedger.close()
        self.fetcher.hedger.close()

    def _guards_of(self, query: SearchQuery, collection: Collection) -> Guards:
        return self._guards.of(query.rank_profile or collection.rank_profile)

    def check(self, query: SearchQuery, collection: Collection) -> Admitted:
        """Check a search; nothing is sent.

        Raises:
            BadRequestError: the query cannot be answered by any shard.
        """
        settings = self._settings
        if query.offset and query.num_ranked > settings.gateway.max_k:
            raise BadRequestError(
                "offset", f"and k are more than {settings.gateway.max_k} together (gateway.max_k)"
            )
        rules = self._synonyms_of(collection.uid) if query.synonyms else None
        is_known = rules is None or self._view.search_options >= SYNONYMS_LEVEL
        admitted = admit(
            query,
            collection,
            settings.limits,
            settings.profiles,
            self._signer,
            len(self._view.live),
            rules if is_known else None,
        )
        if not is_known:
            admitted = admitted._replace(warnings=(*admitted.warnings, _OLDER_WORKER))
        if admitted.options is not None:
            check_level(admitted.options, self._view.search_options)
        if admitted.wanted.highlights is not None:
            check_highlights_level(admitted.wanted, self._view.search_options)
        if collection.revision and (filling := self._view.filling_of(collection)):
            return admitted._replace(warnings=(*admitted.warnings, filling_warning(filling)))
        return admitted

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
        skipped: AbstractSet[int],
    ) -> PlannedSearch:
        """Choose the shards to ask, and how many hits to ask for."""
        breakers = self._guards.of(admitted.profile).breakers
        plan = make_plan(self._view.live, breakers, started, skipped)
        counts = self._view.counts_of(collection.uid)
        is_heavy = self._guards.heavy.is_heavy(admitted.cost, counts)
        k = query.num_ranked
        # A shard's next hit may be of a group of which another has a better one, and so on.
        if (
            not is_heavy and not query.group_by
        ):  # running a heavy query twice would cost more than all the hits
            profile = self._settings.profiles[admitted.profile]
            k = num_asked(k, len(breakers.shards), len(plan.shards), profile)
        payload = SearchPayload(
            uid=collection.uid,
            query=query.query,
            k=k,
            profile=admitted.profile,
            filter=query.filter,
            strict=query.syntax == "strict",
            options=admitted.options,
        )
        deadline_s = query.deadline_ms / 1000
        deadline = started + deadline_s - self._answer_reserve.reserve_s(deadline_s)
        return PlannedSearch(
            query, admitted, permit, plan, payload, is_heavy, started, deadline, trace
        )

    async def _scatter_gather(self, search: PlannedSearch, gather: Gather) -> None:
        """Ask the shards of the plan; however the search ends, the observers get its record."""
        query, plan, trace, now = search.query, search.plan, search.trace, self._loop.time()
        deadline = self._shards_deadline(search, now)
        is_sampled = self._learning.sampler.takes(now)
        late_ms = self._learning.curves.late_ms(query.deadline_ms) if is_sampled else 0
        gather.is_sampled = is_sampled
        to_workers = None
        # Without a function, workers have no use for it, and to carry it costs a hundredth of a
        # cheap search's CPU.
        if trace is not None and search.payload.profile in self._ranked:
            to_workers = self._walks.to_workers(trace)
        scatter = Scatter(_SEARCH, self._messenger, gather, now, deadline, late_ms, to_workers)
        request = scatter.request(
            pack_body(search.payload),
            self._attaching.wish(
                query, search.payload.profile, len(plan.shards), search.admitted.vectors
            ),
        )
        trial = self._canary.trial(search.payload.profile, request.payload)
        heavy = self._guards.heavy.begin(plan.shards, is_heavy=search.is_heavy)
        try:
            shards = plan.shards
            if trial is not None and gather.num_open:
                shards, request = await trial.first(request, shards, gather, deadline)
            if shards and gather.num_open:
                sent = scatter.send(request, shards, search.permit.goes_ahead)
                self.hedger.watch((sent,))
                if query.wait_for < 1:
                    gather.stop_when(self._until(search, gather, deadline))
            await gather.wait(deadline)
        finally:
            scatter.close()
            ended_at = self._loop.time()
            self._observers.on_end(
                EndedSearch(
                    search, request, gather, trial, heavy, now, deadline, ended_at, is_sampled
                )
            )

    def _profile_of(self, search: PlannedSearch) -> RankProfile:
        """The search's rank profile; one without functions if it has been removed meanwhile."""
        return self._settings.profiles.get(search.payload.profile, _REMOVED)

    def _shards_deadline(self, search: PlannedSearch, now: float) -> float:
        """Until when to wait for the shards, so that there is time to fetch the documents."""
        if not search.query.reads_documents:
            return search.deadline
        return search.deadline - self.fetcher.reserve.reserve_s(search.deadline - now)

    def _until(self, search: PlannedSearch, gather: Gather, deadline: float) -> Callable[[], float]:
        """Return a function that says after each reply until when to wait for the rest."""
        timeout = AdaptiveTimeout(search.query.wait_for, self._settings.coverage)
        counts = self._view.counts_of(search.payload.uid)
        known = [count for count in counts if count is not None]
        num_skipped = sum(counts[shard] or 0 for shard in search.plan.skipped)
        total = round(sum(known) * len(counts) / len(known)) if known else 0

        def until() -> float:
            covered = num_skipped + sum(
                part.body.documents for part in gather.results.values() if part.outcome is _OK
            )
            num_open, now = gather.num_open, self._loop.time()
            return timeout.until(covered, total, num_open, len(gather.asked), now, deadline)

        return until

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

    async def _ask_again(
        self, search: PlannedSearch, shards: tuple[int, ...], gather: Gather
    ) -> None:
        """Replace the parts of `shards` by parts with all their hits."""
        deadline = self._shards_deadline(search, self._loop.time())
        attach = self._attaching.wish(
            search.query, search.payload.profile, 1, search.admitted.vectors
        )
        payload = replace(search.payload, k=search.query.num_ranked)
        parts = await self._top_up.ask(payload, attach, shards, deadline)
        for shard, part in parts.items():
            gather.amend(shard, topped_up(gather.results[shard], part))

    async def _fetch(
        self, search: PlannedSearch, hits: list[Hit], bodies: Bodies, gathered_at: float
    ) -> Found:
        """Give the hits their documents: from the replies, or else read from the shards."""
        query = search.query
        merged_at = self._loop.time() if gathered_at else 0.0
        fetch = lease = None
        walks: list[FetchWalk] = []
        if query.reads_documents:
            take_attached(hits, bodies)
            lease = self.fetcher.memory.lease(query.caller.party(query.peer))
            fetch = await self._fill(search, hits, lease, walks)
        steps_s = None
        if gathered_at:
            steps_s = merged_at - gathered_at, self._loop.time() - merged_at
        return Found(hits, bodies, fetch, lease, steps_s, walks[0] if walks else None)

    async def _fill(
        self, search: PlannedSearch, hits: list[Hit], lease: Lease, walks: list[FetchWalk]
    ) -> Fetch:
        if not hits:
            return Fetch(0, 0)
        query, trace, profile = search.query, search.trace, search.payload.profile
        to_workers = None
        if trace is not None and self._profile_of(search).enrich:
            to_workers = self._walks.fetch_to_workers(trace)
        wanted = search.admitted.wanted.highlights
        fetch = await self.fetcher.fill(
            hits,
            search.payload.uid,
            query.read_fields,
            profile,
            search.deadline,
            lease,
            to_workers,
            walks,
            vectors=search.admitted.vectors,
            highlighting=highlighting_of(query, search.payload.options, wanted),
        )
        if query.fields is False:
            drop_fields(hits)
        return fetch

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
