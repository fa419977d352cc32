"""Collections and their documents."""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from hedgerow.gateway.shapes.doc import doc

FieldType = Literal["text", "keyword", "integer", "float", "boolean", "date"]
Wait = Literal["logged", "applied"]


class RejectedLine(msgspec.Struct, frozen=True):
    """A line of a bulk load that was not loaded."""

    line: Annotated[int, doc("Counted from 1.")]
    reason: str


class InferredField(msgspec.Struct, frozen=True):
    """What was inferred of one field of the first documents."""

    field: str
    type: Annotated[FieldType | None, doc("null: it is stored only, and no query finds it.")]
    why: Annotated[str, doc("What its values are, or why it is stored only.")]
    line: Annotated[int | None, doc("The first line that made it so; null if every line did.")]


class FieldWarning(msgspec.Struct, frozen=True):
    """A field with values that are not indexed."""

    field: str
    effect: Annotated[
        Literal["stored_only", "not_indexed", "rejected"],
        doc(
            "Of its values: none is indexed; those that do not fit the field's type are not; "
            "documents with such a value were rejected."
        ),
    ]
    reason: str
    line: Annotated[int, doc("The first such line.")]
    documents: Annotated[
        int | None, doc("The number of such documents; null if they are not counted.")
    ] = None


class SetAsideDocument(msgspec.Struct, frozen=True):
    """A document that was logged, and cannot be indexed."""

    id: str
    reason: str


class LoadAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The report of a bulk load."""

    accepted: Annotated[int, doc("Documents logged; several lines with the same id all count.")]
    rejected: Annotated[list[RejectedLine], doc("The first 1000 rejected lines.")]
    rejected_total: int
    applied: Annotated[bool, doc("Whether they can be found, each of them.")]
    inferred_fields: Annotated[
        dict[str, str] | None, doc("The collection's fields, if inferred from these documents.")
    ] = None
    inference: Annotated[
        list[InferredField] | None,
        doc("How they were inferred; with the fields that are stored only."),
    ] = None
    field_warnings: Annotated[
        list[FieldWarning],
        doc("Fields with values that are not indexed, at most 100."),
    ] = []
    trace_id: Annotated[str | None, doc("The load's trace; null while tracing is off.")] = None
    version: Annotated[
        str | None,
        doc(
            "Version of the document, in the answer to a request that writes one; absent if it was "
            "set aside."
        ),
    ] = None
    set_aside: Annotated[
        list[SetAsideDocument],
        doc(
            "With `wait=applied`: the first 100 documents that a replica could not index, which "
            "were set aside; `applied` is false then. Absent if there are none."
        ),
    ] = []
    set_aside_total: Annotated[
        int, doc("How many documents were set aside; at most 1000 of a shard are known.")
    ] = 0


class ShardDocuments(msgspec.Struct, frozen=True):
    """How many documents of a collection one shard holds."""

    shard: int
    documents: int


class WeightedField(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="text"):
    """A text field with a weight, or with an analysis of its own."""

    weight: Annotated[
        int,
        Meta(ge=0, le=10, description="How often its words count if a query names no field."),
    ] = 1
    language: Annotated[
        str | None, doc("Of its stop words and stemming; the collection's if left out.")
    ] = None
    folding: Annotated[
        bool | None,
        doc("Whether accents make no difference to its words; the collection's if left out."),
    ] = None
    ngrams: Annotated[
        Annotated[int, Meta(ge=2, le=8)] | None,
        doc("Index each word by its parts of this number of characters, so that parts are found."),
    ] = None

    @property
    def type(self) -> Literal["text"]:
        """The field's type."""
        return "text"


class DefinedVector(
    msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="vector"
):
    """A field of vectors."""

    dimensions: Annotated[int, Meta(ge=1, le=4096, description="The numbers of each vector.")]
    metric: Annotated[
        Literal["cosine", "dot", "l2"],
        doc(
            "How vectors are compared: by their product over their lengths, by their product, or "
            "by their distance."
        ),
    ] = "cosine"
    quantisation: Annotated[
        Literal["none", "int8"],
        doc("Whether the index keeps each number as it is, or in 8 bits."),
    ] = "none"
    embed: Annotated[
        str | None,
        doc("The function (module:function) that makes vectors of texts, see docs/hybrid.md."),
    ] = None
    sources: Annotated[
        list[str] | None,
        doc("The text fields that it gets; those in which words are searched if left out."),
    ] = msgspec.field(default=None, name="from")

    @property
    def type(self) -> Literal["vector"]:
        """The field's type."""
        return "vector"


DefinedField: TypeAlias = FieldType | WeightedField | DefinedVector


class Filling(msgspec.Struct, frozen=True):
    """How far the workers are with the fields that were added to a collection."""

    fields: Annotated[list[str], doc("Fields that the index of some replica lacks yet.")]
    share: Annotated[float, doc("Share of the documents that is filled, from 0 to 1, about.")]
    waiting: Annotated[
        int, doc("Replicas that are not done, live or, of a shard without one, last seen.")
    ]


class CollectionAnswer(msgspec.Struct, frozen=True):
    """A collection."""

    name: str
    fields: Annotated[dict[str, DefinedField] | None, doc("null until inferred from documents.")]
    rank_profile: Annotated[str, doc("Profile of searches that name none.")]
    rank_profiles: Annotated[list[str], doc("Profiles that a search may name.")]
    language: str
    documents: int
    shards: list[ShardDocuments]
    inferred: Annotated[
        list[str],
        doc(
            "Fields whose type was inferred. A value that does not fit such a type is stored, but "
            "not indexed; for the other fields, the document is rejected."
        ),
    ] = []
    filling: Annotated[
        Filling | None,
        doc("Progress of the fields that were added; null once they are searched everywhere."),
    ] = None
    folding: Annotated[bool, doc("Whether accents make no difference to words.")] = False


class CollectionsAnswer(msgspec.Struct, frozen=True):
    """All collections."""

    collections: list[CollectionAnswer]


class CollectionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The definition of a collection."""

    fields: Annotated[
        dict[str, DefinedField] | UnsetType,
        doc(
            "Inferred from the first documents if left out. A text field may have a weight, see "
            "docs/ranking.md, and an analysis of its own, see docs/words.md."
        ),
    ] = UNSET
    rank_profile: str = "bm25"
    language: str = "english"
    folding: Annotated[bool, doc("Whether accents make no difference to words.")] = True


class CollectionPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is added to a collection."""

    fields: Annotated[
        dict[str, DefinedField],
        doc("Fields to add, as in the definition; those that it has already must be the same."),
    ]


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
