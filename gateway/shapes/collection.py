"""Collections and their documents."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from hedgerow.gateway.shapes.doc import doc

FieldType = Literal["text", "keyword", "integer", "float", "boolean", "date"]
Wait = Literal["logged", "applied"]


class RejectedLine(msgspec.Struct, frozen=True):
    """A line of a bulk load that did not go in."""

    line: Annotated[int, doc("Counted from 1.")]
    reason: str


class LoadAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a bulk load."""

    accepted: Annotated[int, doc("Documents logged; a later line of the same id counts too.")]
    rejected: Annotated[list[RejectedLine], doc("The first 1000 of them.")]
    rejected_total: int
    applied: Annotated[bool, doc("Whether they can be found.")]
    inferred_fields: Annotated[
        dict[str, str] | None, doc("The fields that the first documents gave the collection.")
    ] = None


class ShardDocuments(msgspec.Struct, frozen=True):
    """How many documents of a collection one shard holds."""

    shard: int
    documents: int


class WeightedField(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text field with a weight."""

    type: Literal["text"]
    weight: Annotated[
        int,
        Meta(ge=0, le=10, description="How often its words count where a query names no field."),
    ] = 1


class CollectionAnswer(msgspec.Struct, frozen=True):
    """A collection."""

    name: str
    fields: Annotated[
        dict[str, FieldType | WeightedField] | None, doc("null until inferred from documents.")
    ]
    rank_profile: Annotated[str, doc("That of a search which names none.")]
    rank_profiles: Annotated[list[str], doc("Those that a search may name.")]
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
    """When the optimising of a collection's text indexes was asked for."""

    wanted_at_ms: Annotated[
        int,
        doc(
            "It is done once `collections[].index` in the status shows this time, or a later "
            "one, and no replica waiting."
        ),
    ]


class CoveragePoint(msgspec.Struct, frozen=True):
    """One point of a curve."""

    deadline_ms: float
    coverage: Annotated[float, doc("Share of the documents that is reached, from 0 to 1.")]


class CoverageGain(msgspec.Struct, frozen=True):
    """What more time would have given."""

    extra_ms: Annotated[float, doc("The least that would have given it, in ms.")]
    coverage: Annotated[float, doc("What would have been reached, from 0 to 1.")]


class CoverageReport(msgspec.Struct, frozen=True):
    """What coverage queries reach on average by which deadline, late replies included."""

    deadline_ms: Annotated[float, doc("The deadline that `coverage` and `gain` speak of.")]
    coverage: Annotated[
        float | None,
        doc(
            "Share of the documents that is reached by it, from 0 to 1; null before the first "
            "query."
        ),
    ]
    gain: Annotated[
        CoverageGain | None,
        doc(
            "The most that up to half of the deadline more would have given; null where nothing, "
            "as far as is known."
        ),
    ]
    points: Annotated[
        list[CoveragePoint], doc("The curve, ascending; from the last on nothing more is known.")
    ]


class CurveAnswer(CoverageReport, frozen=True):
    """The whole curve of a collection, by the queries of the gateway that answers."""

    name: str
