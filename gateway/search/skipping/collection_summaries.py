"""The summaries of one collection's shards, as a gateway keeps them."""

import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple

from hedgerow.common.collection import Collection
from hedgerow.common.query.as_typed import Typing
from hedgerow.common.query.needs import Need, need_of
from hedgerow.common.query.score_bounds import ScoreBound, score_bound
from hedgerow.common.query.shard_summary import ShardSummary, SummaryMasks
from hedgerow.common.query.word_frequencies import WordFrequencies
from hedgerow.common.wire.search_options import Choice, Synonym

MOST_REMEMBERED: Final = 1024  # queries


class Asked(NamedTuple):
    """What decides which documents match a search."""

    query: str
    filter: str
    strict: bool
    typing: Typing
    synonyms: tuple[Synonym, ...] = ()
    choices: tuple[Choice, ...] = ()


class Excluded(NamedTuple):
    """Shards that have no match, if their summaries are still valid.

    Attributes:
        uid: the collection's.
        shards: ascending.
        stamps: of their summaries, in the same order.
    """

    uid: str
    shards: tuple[int, ...]
    stamps: list[bytes]


class RankedBy(NamedTuple):
    """What words weigh in a collection.

    Attributes:
        version: of the term statistics.
        words: how frequent its words are, by these statistics.
    """

    version: bytes
    words: WordFrequencies


class CollectionSummaries:
    """The summaries of one collection.

    Attributes:
        uid: the collection's.
        used_at: when it was last searched, in s.
        read_at: when the stamps were last read, in s; -inf for never.
        size: bytes of all summaries, and of what words weigh.
        ranked_by: what words weigh; None if that is not known.
    """

    def __init__(self, uid: str, now: float) -> None:
        """Know of no shard yet."""
        self.uid = uid
        self.used_at = now
        self.read_at = -math.inf
        self.size = 0
        self.ranked_by: RankedBy | None = None
        self._held: dict[int, tuple[bytes, ShardSummary]] = {}
        self._masks: SummaryMasks | None = None
        self._known: OrderedDict[Asked, Excluded] = OrderedDict()
        self._collection: Collection | None = None  # of which `_known` is

    @property
    def has_any(self) -> bool:
        """Whether any shard's summary is kept."""
        return bool(self._held)

    def stamp(self, shard: int) -> bytes:
        """The stamp of a shard's summary; b"" if there is none."""
        held = self._held.get(shard)
        return b"" if held is None else held[0]

    def take(self, shard: int, stamp: bytes, summary: ShardSummary) -> None:
        """Keep a summary."""
        self.drop(shard)  # and what was remembered
        self._held[shard] = stamp, summary
        self.size += len(summary.bits)

    def drop(self, shard: int) -> None:
        """Forget a shard's summary, which is no longer valid."""
        held = self._held.pop(shard, None)
        if held is not None:
            self.size -= len(held[1].bits)
        self._known.clear()
        self._masks = None

    def rank_by(self, ranked_by: RankedBy | None) -> None:
        """Keep what words weigh."""
        for one, sign in ((self.ranked_by, -1), (ranked_by, 1)):
            self.size += 0 if one is None else sign * one.words.size
        self.ranked_by = ranked_by

    def excluded(self, asked: Asked, collection: Collection) -> Excluded:
        """The shards that have no match; remembers the answers to the last queries."""
        if self._collection is not collection:
            self._known.clear()
            self._collection = collection
        found = self._known.get(asked)
        if found is None:
            found = self._known[asked] = self._look(asked, collection)
            if len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
        return found

    def of(self, shards: Iterable[int]) -> dict[int, tuple[bytes, ShardSummary]]:
        """Shard → the stamp and the summary, of those that are kept."""
        return {shard: self._held[shard] for shard in shards if shard in self._held}

    def need(self, asked: Asked, collection: Collection) -> Need:
        """What a document needs in order to match."""
        return need_of(
            asked.query,
            asked.filter,
            collection,
            strict=asked.strict,
            typing=asked.typing,
            synonyms=asked.synonyms,
            choices=asked.choices,
        )

    def scores(self, asked: Asked, collection: Collection) -> ScoreBound | None:
        """The most that documents can score; None if that is not known."""
        if self.ranked_by is None:
            return None
        return score_bound(
            asked.query,
            collection,
            self.ranked_by.words,
            strict=asked.strict,
            typing=asked.typing,
            synonyms=asked.synonyms,
        )

    @property
    def masks(self) -> SummaryMasks:
        """What may be in which shard."""
        if self._masks is None:
            self._masks = SummaryMasks({shard: one for shard, (_, one) in self._held.items()})
        return self._masks

    def _look(self, asked: Asked, collection: Collection) -> Excluded:
        masks = self.masks
        found = masks.some & self.need(asked, collection).shards(masks)
        shards = [shard for shard in sorted(self._held) if not found >> shard & 1]
        return Excluded(self.uid, tuple(shards), [self._held[shard][0] for shard in shards])
