"""Hybrid searches: how the ranking by text and the ranking by vector become one."""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from hedgerow.gateway.shapes.doc import doc

LegName: TypeAlias = Literal["text", "vector"]

DEFAULT_RRF_K = 60
DEFAULT_CANDIDATES = 100
# Cosines of good candidates lie close together beside their range of -1 to 1, scores of words do
# not: see docs/hybrid.md.
DEFAULT_VECTOR_WEIGHTS = {"scores": 3.0, "rrf": 1.0}

Weight: TypeAlias = Annotated[float, Meta(ge=0, le=1000)]
_Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
_PositiveShare: TypeAlias = Annotated[float, Meta(gt=0, le=1)]


class LegWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much each leg counts."""

    text: Weight = 1.0
    vector: Annotated[Weight | None, doc("3 with scores and 1 with rrf, if null.")] = None


class LegMinimum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The smallest share of the documents that each leg must have searched."""

    text: _Share = 0.0
    vector: _Share = 0.0


class LegWait(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The share of the documents that suffices for each leg; that of the search if null."""

    text: _PositiveShare | None = None
    vector: _PositiveShare | None = None


class Hybrid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the hits of a search by text and of one by vector become one ranking."""

    method: Annotated[
        Literal["scores", "rrf"],
        doc(
            "By score (scores): the sum of weight * score over the legs, where the best hit of a "
            "leg has 1, and the smallest score that there can be is 0. By rank (rrf): the sum of "
            "weight / (k + rank)."
        ),
    ] = "scores"
    k: Annotated[
        int,
        Meta(ge=1, le=10_000, description="With rrf: the larger, the less the first ranks count."),
    ] = DEFAULT_RRF_K
    weights: Annotated[LegWeights, doc("How much each leg counts; not both 0.")] = LegWeights()
    candidates: Annotated[
        int | None,
        Meta(
            description="How many of the best hits of each leg, over all shards, are fused; 100, "
            "or offset and k together, if null."
        ),
    ] = None
    minimum_coverage: Annotated[
        LegMinimum, doc("Smallest share of the documents that each leg must have searched.")
    ] = LegMinimum()
    wait_for: Annotated[
        LegWait, doc("As `wait_for` of the search, for each leg; the search's own if null.")
    ] = LegWait()
