"""Has scorers open the indexes of a shard before it is searched.

The first search of an index by a scorer opens it and reads its pages for the first time, and the
first one of all runs code that was never run: some milliseconds of CPU. One shard that moves is no
matter; but after a split, every scorer of the cluster would get its first searches at one instant.
"""

import asyncio
import time
from typing import Final

import structlog

from hedgerow.common.errors import WorkError
from hedgerow.common.wire.messages import SearchPayload, pack_body
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.executors.process_pool.task import Task
from hedgerow.shard_worker.serving.served_profiles import ServedProfiles
from hedgerow.shard_worker.serving.shard_state import ShardStates

# A shard of hundreds of small collections is not worth hundreds of searches.
MOST_COLLECTIONS: Final = 16
WITHIN_S: Final = 1.0
_QUERY: Final = "a"  # any: what costs is to look a word up in an index for the first time

_log = structlog.get_logger()


class Warming:
    """Warms the scorers of a worker."""

    def __init__(self, served: ServedProfiles, states: ShardStates) -> None:
        """Warm those that serve the profiles; `states` says what the shards hold."""
        self._served = served
        self._states = states

    async def warm(self, shard: int) -> None:
        """Search the largest collections of a shard once in each scorer that is free.

        Nothing depends on it: a search that fails, or does not start soon, is left out.
        """
        found = _plain(self._served)
        if found is None:
            return
        name, scorers = found
        num_documents = self._states.documents().get(shard, {})
        largest = sorted(num_documents, key=lambda uid: -num_documents[uid])[:MOST_COLLECTIONS]
        for uid in largest:
            payload = pack_body(SearchPayload(uid, _QUERY, 1, name, filter="", strict=False))
            generation = self._states.of(shard, uid).generation
            task = Task((shard, generation, payload), time.monotonic() + WITHIN_S)
            searches = [scorers.run(task) for _ in range(scorers.load()["capacity"])]
            for error in await asyncio.gather(*searches, return_exceptions=True):
                if isinstance(error, WorkError):
                    _log.debug("scorer_not_warmed", shard=shard, error=str(error))
                elif isinstance(error, BaseException):
                    raise error


def _plain(served: ServedProfiles) -> tuple[str, ScorerPool] | None:
    """A profile that only reads an index, and its scorers: no function of a user is to be run."""
    for name, (profile, scorers) in served.by_name.items():
        if profile.first_phase == "bm25" and profile.second_phase is None:
            return name, scorers
    return None
