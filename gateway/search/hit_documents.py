"""Gives the hits of a search their documents: from the replies, or else read from the shards."""

import asyncio
from collections.abc import Mapping
from typing import Final

from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.gateway.search.answer import Bodies, Found
from hedgerow.gateway.search.documents.answer_memory import Lease
from hedgerow.gateway.search.documents.attaching import take_attached
from hedgerow.gateway.search.documents.fetch import Fetcher, drop_fields
from hedgerow.gateway.search.documents.fetch_walk import FetchWalk
from hedgerow.gateway.search.options.highlighting import highlighting_of
from hedgerow.gateway.search.planned_search import PlannedSearch
from hedgerow.gateway.search.result import Hit
from hedgerow.gateway.search.walks import Walks
from hedgerow.gateway.shapes.answer import Fetch

_REMOVED: Final = RankProfile()


class HitDocuments:
    """Reads the documents of searches' hits, with what the profiles' functions add to them."""

    def __init__(self, fetcher: Fetcher, profiles: Mapping[str, RankProfile], walks: Walks) -> None:
        """Read with `fetcher`.

        Args:
            fetcher: reads documents.
            profiles: name → rank profile.
            walks: traces what the workers do.
        """
        self._fetcher = fetcher
        self._profiles = profiles
        self._walks = walks
        self._loop = asyncio.get_running_loop()

    def use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        """From now on, these are the profiles."""
        self._profiles = profiles

    async def fetch(
        self, search: PlannedSearch, hits: list[Hit], bodies: Bodies, gathered_at: float
    ) -> Found:
        """Give the hits their documents: from the replies, or else read from the shards."""
        query = search.query
        merged_at = self._loop.time() if gathered_at else 0.0
        fetch = lease = None
        walks: list[FetchWalk] = []
        if query.reads_documents:
            take_attached(hits, bodies)
            lease = self._fetcher.memory.lease(query.caller.party(query.peer))
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
        fetch = await self._fetcher.fill(
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

    def _profile_of(self, search: PlannedSearch) -> RankProfile:
        """The search's rank profile; one without functions if it has been removed meanwhile."""
        return self._profiles.get(search.payload.profile, _REMOVED)
