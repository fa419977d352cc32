"""Has scorers open the indexes of a shard before it is searched.

The first search of an index by a scorer opens it and reads its pages for the first time, and the
first one of all runs code that was never run: some milliseconds of CPU. One shard that moves is no
matter; but after a split, every scorer of the cluster would get its first searches at one instant.
"""

import asyncio
import time
from typing import Final

import structlog

from hedgerow.common.wire.messages import SearchPayload, pack_body
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.executors.process_pool.task import Task
from hedgerow.shard_worker.serving.served_profiles import ServedProfiles
from hedgerow.shard_worker.serving.shard_state import ShardStates

# A shard of hundreds of small collections is not worth hundreds of searches.
MOST_COLLECTIONS: Final = 16
# For all of a shard's. A scorer may get no CPU time for a second on a machine that does much else.
WITHIN_S: Final = 5.0
_QUERY: Final = "a"  # any: what costs is to look a word up in an index for the first time

_log = structlog.get_logger()


class Warming:
    """Warms the scorers of a worker."""

    def __init__(self, served: ServedProfiles, states: ShardStates) -> None:
        """Warm those that serve the profiles; `states` says what the shards hold."""
        self._served = served
        self._states = states
        # One shard at a time: of a scorer that is busy with another, a free one takes the searches.
        self._turn = asyncio.Lock()

    async def warm(self, shard: int) -> None:
        """Search the largest collections of a shard once in each scorer.

        Nothing depends on it: a search that fails, or does not start soon, is left out. While other
        searches keep scorers busy, one that becomes free may search twice, and another not at all.
        """
        async with self._turn:
            if (found := _plain(self._served)) is not None:
                await self._search(shard, *found)

    async def _search(self, shard: int, profile: str, scorers: ScorerPool) -> None:
        expires_at = time.monotonic() + WITHIN_S
        num_documents = self._states.documents().get(shard, {})
        largest = sorted(num_documents, key=lambda uid: -num_documents[uid])[:MOST_COLLECTIONS]
        for uid in largest:
            payload = pack_body(SearchPayload(uid, _QUERY, 1, profile, filter="", strict=False))
            generation = self._states.of(shard, uid).generation
            for done in await scorers.run_in_each(Task((shard, generation, payload), expires_at)):
                if done.error is not None:
                    _log.debug("scorer_not_warmed", shard=shard, error=str(done.error))


def _plain(served: ServedProfiles) -> tuple[str, ScorerPool] | None:
    """A profile that only reads an index, and its scorers: no function of a user is to be run."""
    for name, (profile, scorers) in served.by_name.items():
        if profile.first_phase == "bm25" and profile.second_phase is None:
            return name, scorers
    return None
