"""Fuses the rankings of several legs into one. Pure.

What is fused is each leg's ranking over all shards, so the result does not depend on how the
documents are divided among them.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from hedgerow.gateway.shapes.answer import LegHit
from hedgerow.gateway.shapes.hybrid import DEFAULT_RRF_K


class RankedHit(Protocol):
    """A hit of one leg."""

    id: str
    score: float
    shard: int


class FusedHit(NamedTuple):
    """A document in the fused ranking.

    Attributes:
        id: the document's.
        score: fused.
        shard: which has the document.
        legs: its place in each leg that found it.
    """

    id: str
    score: float
    shard: int
    legs: dict[str, LegHit]


class Fusion(NamedTuple):
    """How rankings are fused.

    Attributes:
        by_score: whether by the legs' scores; otherwise by their ranks.
        k: by rank, what is added to each rank.
        weights: leg → how much it counts; 1 for a leg that is missing here.
    """

    by_score: bool = False
    k: int = DEFAULT_RRF_K
    weights: Mapping[str, float] = {}

    def fuse(
        self, legs: Mapping[str, Sequence[RankedHit]], most: int | None = None
    ) -> list[FusedHit]:
        """Fuse the legs.

        Args:
            legs: name → hits, best first, of all shards together. No leg has a document twice.
            most: how many documents to return; None for all.

        Returns:
            Each document of any leg once, by descending score, ties by ascending id.
        """
        scores: dict[str, float] = {}
        places: dict[str, dict[str, tuple[int, RankedHit]]] = {}
        for name, hits in legs.items():
            weight = self.weights.get(name, 1.0)
            parts = _normalised(hits) if self.by_score else self._by_rank(len(hits))
            for hit, part in zip(hits, parts, strict=True):
                scores[hit.id] = scores.get(hit.id, 0.0) + weight * part
            places[name] = {hit.id: (rank, hit) for rank, hit in enumerate(hits, 1)}
        best = sorted((-score, one) for one, score in scores.items())[:most]
        return [_fused(one, -negated, places) for negated, one in best]

    def _by_rank(self, count: int) -> list[float]:
        return [1 / (self.k + rank) for rank in range(1, count + 1)]


def _normalised(hits: Sequence[RankedHit]) -> list[float]:
    """The scores, brought to 0 (the last hit's) to 1 (the first's); all 1 if they are equal."""
    if not hits:
        return []
    best, last = hits[0].score, hits[-1].score
    span = best - last
    if not span > 0:
        return [_BEST] * len(hits)
    return [(hit.score - last) / span for hit in hits]


_BEST: Final = 1.0


def _fused(
    document: str, score: float, places: Mapping[str, Mapping[str, tuple[int, RankedHit]]]
) -> FusedHit:
    legs, shard = {}, 0
    for name, of_leg in places.items():
        if (place := of_leg.get(document)) is not None:
            rank, hit = place
            legs[name], shard = LegHit(rank, hit.score), hit.shard
    return FusedHit(document, score, shard, legs)
