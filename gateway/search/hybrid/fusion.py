"""Fuses the rankings of several legs into one. Pure.

What is fused is each leg's ranking over all shards, so the result does not depend on how the
documents are divided among them.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from hedgerow.gateway.shapes.answer import LegHit
from hedgerow.gateway.shapes.hybrid import DEFAULT_CANDIDATES, DEFAULT_RRF_K


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


class Scale(NamedTuple):
    """What is known of a leg's scores beforehand, to bring them to 0 to 1.

    Attributes:
        floor: the smallest score that a document can have; None if there is none.
        is_zero_absent: whether a document that the leg has not found has the smallest score, if the
            leg has found fewer than it was asked for. Otherwise it counts as the last that it has
            found: it may have as much.
    """

    floor: float | None = None
    is_zero_absent: bool = False


class Fusion(NamedTuple):
    """How rankings are fused.

    Attributes:
        by_score: whether by the legs' scores; otherwise by their ranks.
        k: by rank, what is added to each rank.
        weights: leg → how much it counts; 1 for a leg that is missing here.
        scales: by score, leg → what is known of its scores.
        candidates: by score, how many hits each leg was asked for.
    """

    by_score: bool = False
    k: int = DEFAULT_RRF_K
    weights: Mapping[str, float] = {}
    scales: Mapping[str, Scale] = {}
    candidates: int = DEFAULT_CANDIDATES

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
        parts = {name: self._parts(name, hits) for name, hits in legs.items()}
        weights = {name: self.weights.get(name, 1.0) for name in legs}
        # What a document has that no leg has found; a leg that has found it adds the difference.
        least = sum(weights[name] * absent for name, (_, absent) in parts.items())
        scores: dict[str, float] = {}
        places: dict[str, dict[str, tuple[int, RankedHit]]] = {}
        for name, hits in legs.items():
            weight, (found, absent) = weights[name], parts[name]
            for hit, part in zip(hits, found, strict=True):
                scores[hit.id] = scores.get(hit.id, least) + weight * (part - absent)
            places[name] = {hit.id: (rank, hit) for rank, hit in enumerate(hits, 1)}
        best = sorted((-score, one) for one, score in scores.items())[:most]
        return [_fused(one, -negated, places) for negated, one in best]

    def _parts(self, name: str, hits: Sequence[RankedHit]) -> tuple[list[float], float]:
        """What a leg gives to each of its hits, and to a document that it has not found."""
        if not self.by_score:
            return [1 / (self.k + rank) for rank in range(1, len(hits) + 1)], 0.0
        if not hits:
            return [], 0.0
        scale = self.scales.get(name, _UNKNOWN)
        parts = _scaled([hit.score for hit in hits], scale.floor)
        is_whole = scale.is_zero_absent and len(hits) < self.candidates
        return parts, 0.0 if is_whole else parts[-1]


_BEST: Final = 1.0
_UNKNOWN: Final = Scale()
# Of the last hit of a leg whose scores have no floor: about as cosines of the best hundred have it,
# so that the same weights suit both.
_LAST_WITHOUT_FLOOR: Final = 0.85


def _scaled(scores: Sequence[float], floor: float | None) -> list[float]:
    """The scores, brought to 0 (the floor) to 1 (the first); all 1 if they are equal."""
    best, last = scores[0], scores[-1]
    if floor is None:
        floor = best - (best - last) / (1 - _LAST_WITHOUT_FLOOR)
    floor = min(floor, last)
    span = best - floor
    if not span > 0:
        return [_BEST] * len(scores)
    return [(score - floor) / span for score in scores]


def _fused(
    document: str, score: float, places: Mapping[str, Mapping[str, tuple[int, RankedHit]]]
) -> FusedHit:
    legs, shard = {}, 0
    for name, of_leg in places.items():
        if (place := of_leg.get(document)) is not None:
            rank, hit = place
            legs[name], shard = LegHit(rank, hit.score), hit.shard
    return FusedHit(document, score, shard, legs)
