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


def without_documents(hits: list[Hit], bodies: Bodies, gathered_at: float) -> Found:
    """As `HitDocuments.fetch`, for a search that reads none; such a search waits for nothing."""
    if not gathered_at:
        return Found(hits, bodies, None, None)
    merge_s = asyncio.get_running_loop().time() - gathered_at
    return Found(hits, bodies, None, None, (merge_s, 0.0))


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
        """Give the hits their documents: from the replies, or else read from the shards.

        Args:
            search: asks for documents.
            hits: its best hits.
            bodies: the replies.
            gathered_at: when the replies had arrived, on the loop's clock, if the search is in the
                sample whose steps are timed; otherwise 0.
        """
        query = search.query
        merged_at = self._loop.time() if gathered_at else 0.0
        walks: list[FetchWalk] = []
        lease = self._fetcher.memory.lease(query.caller.party(query.peer))
        num_bytes = take_attached(hits, bodies)
        if num_bytes is not None and self._fetcher.is_within_answer(num_bytes):
            fetch = Fetch(len(hits), 0)  # as mostly: nothing is to be read or left out
        else:
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
