"""Documents that the replies to a search bring along, which spares it the fetch.

A fetch is a second walk through Redis, a worker and its threads; a cheap search costs less. Before
the merge it is not known how many of the k winners each shard has. To be certain, every shard would
have to send k documents. Ids are spread by a hash, so a shard has a binomial number of the winners:
it is asked for a few more than its share, and a winner that comes without its document is fetched.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from hedgerow.common.settings.settings import RankProfile
from hedgerow.common.wire.messages import Attach, SearchBody
from hedgerow.gateway.search.result import Hit, SearchQuery

# That some shard has more winners than it was asked for, and a fetch must follow: at 2 shards and k
# 10, for 9 documents of each. To ask for more costs every search, and a fetch only these.
_MISS_PROBABILITY: Final = 0.02
# Documents of one shard; as many hardly fit into limits.max_attached_bytes.
_MOST_DOCUMENTS: Final = 1000
# To read the documents of a few winners on many shards costs more than to ask those few for them.
_SHARDS_PER_HIT: Final = 3
_SPARE_SHARDS: Final = 8


class AttachPolicy:
    """Decides which documents the replies to a search are to bring along."""

    def __init__(
        self,
        profiles: Mapping[str, RankProfile],
        max_bytes: int,
        is_understood: Callable[[], bool],
    ) -> None:
        """Ask for documents with `profiles` that allow it.

        Args:
            profiles: name → rank profile. The documents of one with an `enrich` come by a fetch, in
                which that runs, and so do those of a noop, which is answered without its documents.
            max_bytes: of documents, in all replies to a search together; 0 asks for none.
            is_understood: whether every live worker knows what an `Attach` is.
        """
        self.use_profiles(profiles)
        self._max_bytes = max_bytes
        self._is_understood = is_understood

    def use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        """From now on, these are the profiles."""
        self._profiles = frozenset(
            name for name, profile in profiles.items() if _allows_attaching(profile)
        )

    def wish(self, query: SearchQuery, profile: str, num_shards: int) -> Attach | None:
        """What to ask each shard for; None for nothing.

        Args:
            query: the search.
            profile: name of the rank profile that applies.
            num_shards: how many shards are asked.
        """
        if query.fields is False or profile not in self._profiles or not num_shards:
            return None
        max_bytes = self._max_bytes // num_shards
        if not max_bytes or not self._is_understood():
            return None
        if num_shards > _SHARDS_PER_HIT * query.k + _SPARE_SHARDS:
            return None
        num = num_wanted(min(query.k, _MOST_DOCUMENTS), num_shards)
        return Attach(num, max_bytes, None if query.fields is True else list(query.fields))


NO_ATTACHING: Final = AttachPolicy({}, 0, lambda: False)


@lru_cache(maxsize=1024)
def num_wanted(k: int, num_shards: int) -> int:
    """Of how many hits each shard is to send the documents.

    With these, the chance that one of the shards has more of the k winners is at most 2 %.

    Args:
        k: how many winners there are.
        num_shards: the shards that they are spread over, evenly.
    """
    if num_shards == 1:
        return k
    share = 1 / num_shards
    more = 0.0  # the chance that a given shard has more than `num` winners
    for num in range(k, 0, -1):
        more += math.exp(
            math.lgamma(k + 1)
            - math.lgamma(num + 1)
            - math.lgamma(k - num + 1)
            + num * math.log(share)
            + (k - num) * math.log1p(-share)
        )
        if more * num_shards > _MISS_PROBABILITY:
            return num
    return 1


def take_attached(hits: Iterable[Hit], bodies: Iterable[tuple[int, SearchBody]]) -> None:
    """Give those hits their documents that came with the replies.

    Args:
        hits: the winners.
        bodies: shard and its reply, of each shard that has answered.
    """
    attached = {
        shard: dict(zip(body.ids, body.attached, strict=False))
        for shard, body in bodies
        if body.attached
    }
    if attached:
        for hit in hits:
            if hit.shard in attached:
                stored = attached[hit.shard].get(hit.id)
                if stored is not None:
                    hit.stored = msgspec.Raw(stored)


def _allows_attaching(profile: RankProfile) -> bool:
    is_bare_noop = profile.first_phase == "noop" and profile.second_phase is None
    return profile.enrich is None and not is_bare_noop
