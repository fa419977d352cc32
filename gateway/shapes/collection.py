"""Collections and their documents."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from hedgerow.gateway.shapes.doc import doc

FieldType = Literal["text", "keyword", "integer", "float", "boolean", "date"]
Wait = Literal["logged", "applied"]


class RejectedLine(msgspec.Struct, frozen=True):
    """A line of a bulk load that was not loaded."""

    line: Annotated[int, doc("Counted from 1.")]
    reason: str


class LoadAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The report of a bulk load."""

    accepted: Annotated[int, doc("Documents logged; several lines with the same id all count.")]
    rejected: Annotated[list[RejectedLine], doc("The first 1000 rejected lines.")]
    rejected_total: int
    applied: Annotated[bool, doc("Whether they can be found.")]
    inferred_fields: Annotated[
        dict[str, str] | None, doc("The collection's fields, if inferred from these documents.")
    ] = None
    trace_id: Annotated[str | None, doc("The load's trace; null while tracing is off.")] = None


class ShardDocuments(msgspec.Struct, frozen=True):
    """How many documents of a collection one shard holds."""

    shard: int
    documents: int


class WeightedField(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text field with a weight."""

    type: Literal["text"]
    weight: Annotated[
        int,
        Meta(ge=0, le=10, description="How often its words count if a query names no field."),
    ] = 1


class CollectionAnswer(msgspec.Struct, frozen=True):
    """A collection."""

    name: str
    fields: Annotated[
        dict[str, FieldType | WeightedField] | None, doc("null until inferred from documents.")
    ]
    rank_profile: Annotated[str, doc("Profile of searches that name none.")]
    rank_profiles: Annotated[list[str], doc("Profiles that a search may name.")]
    language: str
    documents: int
    shards: list[ShardDocuments]


class CollectionsAnswer(msgspec.Struct, frozen=True):
    """All collections."""

    collections: list[CollectionAnswer]


class CollectionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The definition of a collection."""

    fields: Annotated[
        dict[str, FieldType | WeightedField] | UnsetType,
        doc(
            "Inferred from the first documents if left out. A text field may have a weight, see "
            "docs/ranking.md."
        ),
    ] = UNSET
    rank_profile: str = "bm25"
    language: str = "english"


class OptimiseAnswer(msgspec.Struct, frozen=True):
    """When optimising a collection's text indexes was requested."""

    wanted_at_ms: Annotated[
        int,
        doc(
            "It is done once `collections[].index` in the status shows this time or a later one, "
            "and no waiting replica."
        ),
    ]


class CoveragePoint(msgspec.Struct, frozen=True):
    """One point of a curve."""

    deadline_ms: float
    coverage: Annotated[float, doc("Share of the documents that is covered, from 0 to 1.")]


class CoverageGain(msgspec.Struct, frozen=True):
    """The coverage that more time would have given."""

    extra_ms: Annotated[float, doc("Smallest additional time that would have sufficed, in ms.")]
    coverage: Annotated[float, doc("The coverage with it, from 0 to 1.")]


class CoverageReport(msgspec.Struct, frozen=True):
    """The mean coverage of queries by each deadline, including late replies."""

    deadline_ms: Annotated[float, doc("The deadline of `coverage` and `gain`.")]
    coverage: Annotated[
        float | None,
        doc(
            "Share of the documents that is covered by it, from 0 to 1; null before the first "
            "query."
        ),
    ]
    gain: Annotated[
        CoverageGain | None,
        doc(
            "The gain from up to half of the deadline in addition; null if there is none, as far "
            "as is known."
        ),
    ]
    points: Annotated[
        list[CoveragePoint], doc("The curve, ascending; unknown beyond the last point.")
    ]


class CurveAnswer(CoverageReport, frozen=True):
    """The whole curve of a collection, from this gateway's queries."""

    name: str
