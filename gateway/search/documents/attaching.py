"""Has shards attach documents to their replies to a search, which saves the fetch.

A fetch is a second walk through Redis, a worker and its threads, and costs more than a cheap
search. Before the merge, it is not known how many of the k winners each shard has; to be certain,
every shard would have to send k documents. Ids are spread by a hash, so the number of winners on a
shard is binomially distributed: it is asked for a few more documents than its share, and winners
whose documents were not attached are fetched.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.wire.messages import Attach, SearchBody
from hedgerow.gateway.search.result import Hit, SearchQuery

# The probability that some shard has more winners than documents were asked for, and a fetch must
# follow: with 2 shards and k = 10, each is asked for 9. Asking for more would burden every search;
# a fetch burdens only these.
_MISS_PROBABILITY: Final = 0.02
# Documents of one shard; more would hardly fit into limits.max_attached_bytes.
_MOST_DOCUMENTS: Final = 1000
# Attaching documents on many shards for few winners costs more than fetching them from those few.
_SHARDS_PER_HIT: Final = 3
_SPARE_SHARDS: Final = 8


class AttachPolicy:
    """Decides which documents shards should attach to their replies to a search."""

    def __init__(
        self,
        profiles: Mapping[str, RankProfile],
        max_bytes: int,
        is_understood: Callable[[], bool],
    ) -> None:
        """Ask for documents with the `profiles` that allow it.

        Args:
            profiles: name → rank profile. With `enrich`, documents are fetched, since it runs in
                the fetch; so are those of a noop, which workers answer without reading documents.
            max_bytes: limit on the documents in all replies to a search together; 0 asks for none.
            is_understood: whether every live worker understands an `Attach`.
        """
        self.use_profiles(profiles)
        self._max_bytes = max_bytes
        self._is_understood = is_understood

    def use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        """From now on, these are the profiles."""
        self._profiles = frozenset(
            name for name, profile in profiles.items() if _allows_attaching(profile)
        )

    def wish(
        self, query: SearchQuery, profile: str, num_shards: int, vectors: tuple[str, ...] = ()
    ) -> Attach | None:
        """Return what each shard should attach; None for nothing.

        Args:
            query: the search.
            profile: the name of the rank profile that applies.
            num_shards: how many shards are asked.
            vectors: the collection's vector fields.
        """
        is_first = not query.offset  # the documents of hits that are left out are not wanted
        if query.fields is False or profile not in self._profiles or not num_shards or not is_first:
            return None
        if query.highlight:  # made by the fetch
            return None
        max_bytes = self._max_bytes // num_shards
        if not max_bytes or not self._is_understood():
            return None
        if num_shards > _SHARDS_PER_HIT * query.k + _SPARE_SHARDS:
            return None
        num = num_wanted(min(query.k, _MOST_DOCUMENTS), num_shards)
        fields = None if query.fields is True else list(query.fields)
        is_by_score = not query.sort and not query.group_by
        k = query.k if num_shards > 1 and is_by_score else 0
        return Attach(num, max_bytes, fields, vectors, k)


@lru_cache(maxsize=1024)
def num_wanted(k: int, num_shards: int) -> int:
    """Return for how many hits each shard should send the documents.

    With this number, the probability that some shard has more of the k winners is at most 2 %.

    Args:
        k: how many winners there are.
        num_shards: the shards over which they are spread evenly.
    """
    if num_shards == 1:
        return k
    share = 1 / num_shards
    more = 0.0  # the probability that a given shard has more than `num` winners
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


def take_attached(hits: Iterable[Hit], bodies: Iterable[tuple[int, SearchBody]]) -> int | None:
    """Give hits the documents that were attached to the replies.

    Args:
        hits: the winners.
        bodies: shard and its reply, for each shard that has answered.

    Returns:
        The documents' bytes in total, if every hit has got its document; else None.
    """
    attached = {
        shard: dict(zip(body.ids, body.attached, strict=False))
        for shard, body in bodies
        if body.attached
    }
    if not attached:
        return None
    raw, num_bytes, is_whole = msgspec.Raw, 0, True
    for hit in hits:
        stored = attached[hit.shard].get(hit.id) if hit.shard in attached else None
        if stored is None:
            is_whole = False
        else:
            hit.stored = raw(stored)
            num_bytes += len(stored)
    return num_bytes if is_whole else None


def _allows_attaching(profile: RankProfile) -> bool:
    is_bare_noop = profile.first_phase == "noop" and profile.second_phase is None
    return profile.enrich is None and not is_bare_noop
