"""Decides which shards a search need not ask.

A summary is as old as the last look at Redis, and its shard may have been written to since. So
nothing is skipped before its stamp was read again, after the search has come in: then whatever any
caller knows to be found was found before (`common.state.summaries`). That takes a round trip to
Redis, of searches that skip shards only.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, Self

from hedgerow.common.collection import Collection
from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.query.as_typed import AS_WRITTEN, Typing
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.gateway.search.result import Hit, SearchQuery
from hedgerow.gateway.search.skipping.collection_summaries import (
    Asked,
    CollectionSummaries,
    Excluded,
)
from hedgerow.gateway.search.skipping.exactness import (
    Exactness,
    exactness_by_score,
    exactness_of,
    is_by_score,
)
from hedgerow.gateway.search.validation import Admitted

NONE: Final[frozenset[int]] = frozenset()
LONGEST: Final = 256  # characters of a query or filter: a longer one takes long to read again
MOST_CHOICES: Final = 32  # values and ranges, for the same reason
UNUSED_S: Final = 600.0  # after this time without a search, a collection's summaries are dropped
_CHECK_SHARE: Final = 0.1  # of the deadline: the longest wait for the stamps
_LONGEST_CHECK_S: Final = 0.05
_LATE_CHECK_S: Final = 0.005  # when the answer is due
# Options that do not change which documents match, or that `need_of` knows of.
_UNDERSTOOD: Final = frozenset(
    {"facets", "sort", "search_after", "group_by", "typos", "prefix", "synonyms", "refine"}
)


class Stamps(Protocol):
    """Reads the stamps of summaries."""

    async def read(self, uid: str, shards: Sequence[int]) -> list[bytes | None]:
        """The shards' stamps, in this order, as they are now.

        Raises:
            RedisUnavailableError: there was no answer.
        """

    async def statistics(self, uid: str) -> bytes:
        """The version of the collection's term statistics, as it is now; b"" for none.

        Raises:
            RedisUnavailableError: there was no answer.
        """


RanksBy = Callable[[Collection, Sequence[int], bytes], bool]


def _is_unknown(_collection: Collection, _shards: Sequence[int], _version: bytes) -> bool:
    """By which statistics workers rank is not known."""
    return False


class _NoStamps:
    """There are none."""

    async def read(self, uid: str, shards: Sequence[int]) -> list[bytes | None]:
        del uid
        return [None] * len(shards)

    async def statistics(self, _uid: str) -> bytes:
        return b""


class Skipper:
    """Finds the shards that cannot have a match."""

    def __init__(
        self,
        stamps: Stamps,
        retracts: Callable[[], bool],
        profiles: Mapping[str, RankProfile],
        on_wanted: Callable[[], None],
        ranks_by: RanksBy = _is_unknown,
        *,
        is_on: bool = True,
    ) -> None:
        """Skip nothing yet: `collections` has to be filled with summaries.

        Args:
            stamps: reads stamps.
            retracts: whether every live worker retracts summaries before it writes.
            profiles: name → rank profile.
            on_wanted: called when a collection is searched whose summaries are not kept.
            ranks_by: whether the live workers of some shards rank by this version of a
                collection's statistics.
            is_on: whether to want any.
        """
        self.collections: dict[str, CollectionSummaries] = {}
        self._stamps = stamps
        self._retracts = retracts
        self._on_wanted = on_wanted
        self._ranks_by = ranks_by
        self._is_on = is_on
        self._now = asyncio.get_running_loop().time
        self.use_profiles(profiles)

    @classmethod
    def of_none(cls) -> Self:
        """One that skips nothing."""
        return cls(_NoStamps(), lambda: False, {}, lambda: None, is_on=False)

    def use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        """From now on, these are the rank profiles."""
        # Without an index, everything matches; and a canary is to be tried on a shard.
        self._profiles = frozenset(
            name
            for name, profile in profiles.items()
            if profile.first_phase != "noop" and not profile.canary
        )
        self._plain = frozenset(
            name for name, profile in profiles.items() if profile.second_phase is None
        )

    def excluded(
        self, query: SearchQuery, collection: Collection, admitted: Admitted, now: float
    ) -> Excluded | None:
        """The shards that seem to have no match; None if there are none. Takes 1 µs mostly."""
        if admitted.profile not in self._profiles:
            return None
        held = self.collections.get(collection.uid)
        if held is None:
            if not self._is_on:
                return None
            self.collections[collection.uid] = CollectionSummaries(collection.uid, now)
            self._on_wanted()
            return None
        held.used_at = now
        if not held.has_any or (asked := self._asked(query, admitted)) is None:
            return None
        if asked.choices:
            # A shard without a hit may have documents that are counted by a facet.
            counted = {facet.field for facet in admitted.options.facets} if admitted.options else ()
            kept = tuple(one for one in asked.choices if one.field not in counted)
            asked = asked._replace(choices=kept)
        found = held.excluded(asked, collection)
        return found if found.shards else None

    def _asked(self, query: SearchQuery, admitted: Admitted) -> Asked | None:
        """What decides which documents match; None if that is not understood here."""
        options = admitted.options
        if (
            (options is not None and not _UNDERSTOOD.issuperset(options.used))
            or admitted.profile not in self._profiles
            or len(query.query) > LONGEST
            or len(query.filter) > LONGEST
            or not self._retracts()
        ):
            return None
        strict = query.syntax == "strict"
        if options is None:
            return Asked(query.query, query.filter, strict, AS_WRITTEN)
        typing = Typing(options.typos, options.prefix)
        num = sum(len(one.values) + len(one.ranges) for one in options.refine)
        if num > MOST_CHOICES:
            return None
        return Asked(query.query, query.filter, strict, typing, options.synonyms, options.refine)

    async def confirmed(self, excluded: Excluded, deadline_s: float) -> frozenset[int]:
        """Those of `excluded` whose summaries are valid now, and so have no match indeed.

        Args:
            excluded: shards that seem to have none.
            deadline_s: from the search's start to its deadline.
        """
        return await self._confirmed(excluded, min(_CHECK_SHARE * deadline_s, _LONGEST_CHECK_S))

    async def _confirmed(self, excluded: Excluded, timeout_s: float) -> frozenset[int]:
        try:
            async with asyncio.timeout(timeout_s):
                stamps = await self._stamps.read(excluded.uid, excluded.shards)
        except (TimeoutError, RedisUnavailableError):
            return NONE
        if stamps == excluded.stamps:
            return frozenset(excluded.shards)
        valid = set()
        held = self.collections.get(excluded.uid)
        for shard, before, now in zip(excluded.shards, excluded.stamps, stamps, strict=True):
            if now == before:
                valid.add(shard)
            elif held is not None and held.stamp(shard) == before:
                held.drop(shard)
        return frozenset(valid)

    async def exactness(
        self,
        query: SearchQuery,
        collection: Collection,
        admitted: Admitted,
        missing: Sequence[int],
        hits: Sequence[Hit],
    ) -> Exactness | None:
        """Why the missing shards could not have changed the hits; None if they could.

        Args:
            query: the search.
            collection: what was searched.
            admitted: the result of its validation.
            missing: the shards that were not searched.
            hits: the best of the others, with those that are left out at the beginning.
        """
        held = self.collections.get(collection.uid)
        if held is None or (asked := self._asked(query, admitted)) is None:
            return None
        known = held.of(missing)
        if len(known) < len(missing):
            return None
        keys = () if admitted.options is None else admitted.options.sort
        need, version = held.need(asked, collection), None
        summaries = [summary for _, summary in known.values()]
        found = exactness_of(summaries, need, hits, query.num_ranked, keys)
        if (
            found is None
            and len(hits) >= query.num_ranked
            and is_by_score(keys)
            and admitted.profile in self._plain
            and held.ranked_by is not None
            and (scores := held.scores(asked, collection)) is not None
        ):
            version = held.ranked_by.version
            found = exactness_by_score(missing, held.masks, need, scores, hits[-1])
        if found is None:
            return None
        stamps = [stamp for stamp, _ in known.values()]
        excluded = Excluded(collection.uid, tuple(known), stamps)
        if version is not None and not await self._is_ranked_by(collection, missing, version):
            return None
        valid = await self._confirmed(excluded, _LATE_CHECK_S)
        return found if len(valid) == len(known) else None

    async def _is_ranked_by(
        self, collection: Collection, shards: Sequence[int], version: bytes
    ) -> bool:
        """Whether the workers of some shards rank by a version of the statistics now.

        What their heartbeats say may be old; but only what is in Redis can have replaced it.
        """
        if not self._ranks_by(collection, shards, version):
            return False
        try:
            async with asyncio.timeout(_LATE_CHECK_S):
                return await self._stamps.statistics(collection.uid) == version
        except (TimeoutError, RedisUnavailableError):
            return False

    def forget_unused(self) -> None:
        """Drop the summaries of collections that are not searched any more."""
        oldest = self._now() - UNUSED_S
        for uid in [uid for uid, one in self.collections.items() if one.used_at < oldest]:
            del self.collections[uid]

    def forget_all(self) -> None:
        """Drop all summaries: it is unknown whether their stamps still say anything."""
        self.collections = {
            uid: CollectionSummaries(uid, one.used_at) for uid, one in self.collections.items()
        }
