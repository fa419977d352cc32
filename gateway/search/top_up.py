"""Asks each shard for a few more hits than its share, and asks those again that may have more.

Each hit costs CPU in the scorer that returns it, in the worker and in the merge. If each of eight
shards were asked for all k winners, they would send eight times as many hits as the answer has. Ids
are spread by a hash, so the number of winners on a shard is binomially distributed; the shard is
asked for enough hits that it rarely has more.

The answer is the same as if each shard had been asked for k hits. A shard's hits come in the order
of the merge: if its last hit is not a winner, none after it is. If its last hit is a winner and
more documents match, the shard may have more winners, and is asked again, for k hits.

A search by a vector looks for its share of the neighbours in each shard, too.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from hedgerow.common.outcome import Outcome
from hedgerow.common.runtime.alarms import Alarms
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.wire.messages import (
    Attach,
    Kind,
    SearchBody,
    SearchPayload,
    pack_body,
)
from hedgerow.common.wire.search_options import SearchOptions
from hedgerow.gateway.policies.shard_result import ShardResult
from hedgerow.gateway.search.documents.attaching import num_wanted
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.hedger import Hedger
from hedgerow.gateway.search.options.replies import reader_of
from hedgerow.gateway.search.result import Hit
from hedgerow.gateway.search.scatter import Scatter
from hedgerow.gateway.transport.messenger import Messenger

_LEAST_OPEN: Final = 0.75  # share of the shards; if fewer are asked, each is asked for k hits
# Of the documents in view, the part that each shard has in view beyond its share; at least
# 16. With fewer, eight shards find less of the neighbours than one (docs/vectors.md).
_SPARE_IN_VIEW: Final = 0.5
_LEAST_SPARE: Final = 16


def num_asked(k: int, num_shards: int, num_open: int, profile: RankProfile) -> int:
    """Return how many hits to ask each shard for; if all are asked, one search in 50 asks again.

    Args:
        k: how many hits are wanted.
        num_shards: the shards of the cluster.
        num_open: the shards that are asked. The fewer they are, the more winners each has. Yet the
            number of hits depends on it only through a threshold, since the quarantine identifies a
            query by its payload.
        profile: the rank profile. A noop's hits cost nothing, and running a second phase again
            costs more than hits do: both are asked for k.
    """
    return _share(k, num_shards) if is_shared(num_shards, num_open, profile) else k


def is_shared(num_shards: int, num_open: int, profile: RankProfile) -> bool:
    """Whether each shard is asked for its share; the arguments are those of `num_asked`."""
    if profile.first_phase == "noop" or profile.second_phase is not None:
        return False
    return num_shards > 1 and num_open >= _LEAST_OPEN * num_shards


def of_share(options: SearchOptions, num_shards: int) -> SearchOptions:
    """The options of a search with which each shard looks for its share of the neighbours."""
    vector = options.vector
    if vector is None:
        return options
    k = _share(vector.k, num_shards)
    spare = max(_LEAST_SPARE, math.ceil(_SPARE_IN_VIEW * vector.ef))
    ef = min(vector.ef, _share(vector.ef, num_shards) + spare)
    return replace(options, vector=replace(vector, k=k, ef=ef))


def _share(k: int, num_shards: int) -> int:
    # A shard with as many winners as it was asked for has to be asked again.
    return min(k, num_wanted(k, num_shards) + 1)


def may_have_more(
    hits: Iterable[Hit], bodies: Iterable[tuple[int, SearchBody]], asked: int, k: int
) -> tuple[int, ...]:
    """Return the shards that may have winners which they have not sent.

    These are the shards whose hits are all among the winners and that have further matches.

    Args:
        hits: the winners, as merged.
        bodies: shard and its reply, for each shard that has answered.
        asked: how many hits each was asked for.
        k: how many are wanted.
    """
    if asked >= k:
        return ()
    # A total that is only a lower bound may equal the hits that were sent while more match.
    cut_off = [
        (shard, body)
        for shard, body in bodies
        if len(body.ids) >= asked and (len(body.ids) < body.total or not body.is_exact)
    ]
    if not cut_off:
        return ()
    won = Counter([hit.shard for hit in hits])
    return tuple(shard for shard, body in cut_off if won[shard] >= len(body.ids))


class TopUp:
    """Sends the second request of a search, to the few shards that may have more winners."""

    def __init__(self, messenger: Messenger, hedger: Hedger) -> None:
        """Ask over `messenger`, with second copies by `hedger`."""
        self._messenger = messenger
        self._hedger = hedger
        self._loop = asyncio.get_running_loop()
        self._alarms = Alarms()

    async def ask(
        self,
        payload: SearchPayload,
        attach: Attach | None,
        shards: tuple[int, ...],
        deadline: float,
    ) -> Mapping[int, ShardResult]:
        """Ask `shards` ahead of all requests in their queues; returns how their parts ended.

        Args:
            payload: the search's payload, for all its hits.
            attach: the documents that the replies should include.
            shards: the shards that may have more winners.
            deadline: until when to wait, on the loop's clock.
        """
        gather = Gather(shards, reader_of(payload.options), self._alarms)
        scatter = Scatter(Kind.SEARCH, self._messenger, gather, self._loop.time(), deadline)
        try:
            if gather.num_open:
                request = scatter.request(pack_body(payload), attach)
                self._hedger.watch([scatter.send(request, shards, goes_ahead=True)])
                await gather.wait(deadline)
        finally:
            scatter.close()
        return gather.results


def topped_up(first: ShardResult, second: ShardResult) -> ShardResult:
    """Return the part of a shard that was asked again.

    If the second reply is missing, the part is not ok: without all its hits, the answer would not
    reflect all of the shard's documents.
    """
    if second.outcome is not Outcome.OK:
        return second
    return replace(first, body=second.body)
