"""Asks the shards of a planned search, and waits for their replies."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.wire.messages import Kind, pack_body
from hedgerow.common.wire.search_options import LOCAL_MERGE_LEVEL
from hedgerow.gateway.policies.adaptive_timeout import AdaptiveTimeout
from hedgerow.gateway.policies.hedging import HedgePolicy
from hedgerow.gateway.policies.latency import FetchReserve
from hedgerow.gateway.search.coverage.measurement import fewest_documents
from hedgerow.gateway.search.documents.attaching import AttachPolicy
from hedgerow.gateway.search.ended_search import EndedSearch
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.guards.canary import Canary
from hedgerow.gateway.search.guards.profile_guards import ProfileGuards, profiles_with_functions
from hedgerow.gateway.search.hedger import Hedger
from hedgerow.gateway.search.learning import Learning
from hedgerow.gateway.search.observers import Observers
from hedgerow.gateway.search.planned_search import PlannedSearch
from hedgerow.gateway.search.scatter import Scatter
from hedgerow.gateway.search.search_settings import SearchSettings
from hedgerow.gateway.search.top_up import TopUp, topped_up
from hedgerow.gateway.search.view import View
from hedgerow.gateway.search.walks import Walks
from hedgerow.gateway.transport.messenger import Messenger

# An enum's member is looked up through a descriptor in Python 3.11: five times a global's price.
_OK: Final = Outcome.OK
_SEARCH: Final = Kind.SEARCH


class ScatterGather:
    """Sends searches to their shards, and ends them by the deadline, or once enough is covered.

    Attributes:
        hedger: sends second copies of searches.
    """

    def __init__(
        self,
        messenger: Messenger,
        view: View,
        guards: ProfileGuards,
        settings: SearchSettings,
        learning: Learning,
        walks: Walks,
        fetch_reserve: FetchReserve,
    ) -> None:
        """Send over `messenger`.

        Args:
            messenger: the way to the shards.
            view: the state of the cluster.
            guards: the account of heavy queries, and the number of shards.
            settings: hedging, coverage, profiles, and limits of what replies attach.
            learning: learns from a sample of the searches.
            walks: traces what the workers do.
            fetch_reserve: how much of a deadline to keep for the fetch.
        """
        policy = HedgePolicy(settings.hedging, len(guards.shared.breakers))
        self.hedger = Hedger(_SEARCH, messenger.transport, policy, view)
        self._messenger = messenger
        self._view = view
        self._guards = guards
        self._coverage = settings.coverage
        self._learning = learning
        self._walks = walks
        self._fetch_reserve = fetch_reserve
        self._ranked = frozenset(profiles_with_functions(settings.profiles))
        self._attaching = AttachPolicy(
            settings.profiles,
            settings.max_attached_bytes,
            lambda: view.attaches,
            lambda: view.search_options >= LOCAL_MERGE_LEVEL,
        )
        self._canary = Canary(settings.profiles, messenger)
        self._top_up = TopUp(messenger, self.hedger)
        self._observers = Observers(self.hedger, learning, view.counts_of)
        self._loop = asyncio.get_running_loop()

    def use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        """From now on, rank by these; searches that have begun end as they began."""
        self._ranked = frozenset(profiles_with_functions(profiles))
        self._canary.use_profiles(profiles)
        self._attaching.use_profiles(profiles)

    async def run(self, search: PlannedSearch, gather: Gather) -> None:
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

    async def ask_again(
        self, search: PlannedSearch, shards: tuple[int, ...], gather: Gather
    ) -> None:
        """Replace the parts of `shards` by parts with all their hits."""
        deadline = self._shards_deadline(search, self._loop.time())
        attach = self._attaching.wish(
            search.query, search.payload.profile, 1, search.admitted.vectors
        )
        payload = replace(
            search.payload, k=search.query.num_ranked, options=search.admitted.options
        )
        parts = await self._top_up.ask(payload, attach, shards, deadline)
        for shard, part in parts.items():
            gather.amend(shard, topped_up(gather.results[shard], part))

    def _shards_deadline(self, search: PlannedSearch, now: float) -> float:
        """Until when to wait for the shards, so that there is time to fetch the documents."""
        if not search.query.reads_documents:
            return search.deadline
        return search.deadline - self._fetch_reserve.reserve_s(search.deadline - now)

    def _until(self, search: PlannedSearch, gather: Gather, deadline: float) -> Callable[[], float]:
        """Return a function that says after each reply until when to wait for the rest."""
        timeout = AdaptiveTimeout(search.query.wait_for, self._coverage)
        counts = self._view.counts_of(search.payload.uid)
        # A worker that is cut off has not reported what was written meanwhile.
        least = fewest_documents(max(filter(None, counts), default=0), 1)
        known = [count for count in counts if count is not None and count >= least]
        num_skipped = sum(counts[shard] or 0 for shard in search.plan.skipped)
        total = round(sum(known) * len(counts) / len(known)) if known else 0

        def until() -> float:
            covered = num_skipped + sum(
                part.body.documents for part in gather.results.values() if part.outcome is _OK
            )
            num_open, now = gather.num_open, self._loop.time()
            return timeout.until(covered, total, num_open, len(gather.asked), now, deadline)

        return until
