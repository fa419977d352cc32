"""The answer to a failed request."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from hedgerow.gateway.shapes.answer import Coverage, Fetch, Hit, Leg, Shards, TotalHits
from hedgerow.gateway.shapes.collection import FieldWarning, InferredField, RejectedLine
from hedgerow.gateway.shapes.doc import doc
from hedgerow.gateway.shapes.facets import FacetAnswer
from hedgerow.gateway.shapes.operations import ShortageStatus
from hedgerow.gateway.shapes.sorting import NextPage

Cause = Literal[
    "limit",
    "batch_share",
    "share",
    "rate",
    "backlog",
    "deadline",
    "loads",
    "requests",
    "connections",
    "viewers",
]


class FieldError(msgspec.Struct, frozen=True, gc=False):
    """One fault in a request."""

    field: str
    reason: str


class Problem(msgspec.Struct, frozen=True, gc=False):
    """A problem, as in RFC 9457, with the members that its type adds."""

    type: str
    title: str
    status: int
    detail: str
    field: Annotated[str | UnsetType, doc("bad-request: the invalid field.")] = UNSET
    reason: Annotated[str | UnsetType, doc("bad-request: the reason.")] = UNSET
    position: Annotated[
        int | UnsetType | None, doc("bad-request: the position in the field's value.")
    ] = UNSET
    errors: Annotated[list[FieldError] | UnsetType, doc("bad-request: all faults.")] = UNSET
    hits: Annotated[
        list[Hit] | UnsetType, doc("insufficient-coverage: the hits that were found.")
    ] = UNSET
    total_hits: Annotated[TotalHits | UnsetType, doc("insufficient-coverage: as in an answer.")] = (
        UNSET
    )
    coverage: Annotated[Coverage | UnsetType, doc("insufficient-coverage: as in an answer.")] = (
        UNSET
    )
    shards: Annotated[Shards | UnsetType, doc("insufficient-coverage: as in an answer.")] = UNSET
    fetch: Annotated[Fetch | UnsetType | None, doc("insufficient-coverage: as in an answer.")] = (
        UNSET
    )
    warnings: Annotated[list[str] | UnsetType, doc("insufficient-coverage: as in an answer.")] = (
        UNSET
    )
    took_ms: Annotated[float | UnsetType, doc("insufficient-coverage: as in an answer.")] = UNSET
    deadline_ms: Annotated[float | UnsetType, doc("insufficient-coverage: as in an answer.")] = (
        UNSET
    )
    trace_id: Annotated[str | UnsetType | None, doc("insufficient-coverage: as in an answer.")] = (
        UNSET
    )
    facets: Annotated[
        dict[str, FacetAnswer] | UnsetType, doc("insufficient-coverage: as in an answer.")
    ] = UNSET
    next_page: Annotated[NextPage | UnsetType, doc("insufficient-coverage: as in an answer.")] = (
        UNSET
    )
    legs: Annotated[dict[str, Leg] | UnsetType, doc("insufficient-coverage: as in an answer.")] = (
        UNSET
    )
    did_you_mean: Annotated[str | UnsetType, doc("insufficient-coverage: as in an answer.")] = UNSET
    version: Annotated[
        str | UnsetType | None,
        doc("version-mismatch: the document's version; null if there is no such document."),
    ] = UNSET
    cause: Annotated[Cause | UnsetType, doc("overloaded: why the request was refused.")] = UNSET
    retry_after_s: Annotated[
        float | UnsetType,
        doc("overloaded: exact value of Retry-After, which is in whole seconds."),
    ] = UNSET
    shortages: Annotated[
        list[ShortageStatus] | UnsetType, doc("insufficient-storage: the shortages.")
    ] = UNSET
    accepted: Annotated[
        int | UnsetType, doc("unavailable and insufficient-storage, of a load: documents logged.")
    ] = UNSET
    rejected: Annotated[list[RejectedLine] | UnsetType, doc("Accompanies `accepted`.")] = UNSET
    rejected_total: Annotated[int | UnsetType, doc("Accompanies `accepted`.")] = UNSET
    applied: Annotated[bool | UnsetType, doc("Accompanies `accepted`.")] = UNSET
    inferred_fields: Annotated[dict[str, str] | UnsetType, doc("Accompanies `accepted`.")] = UNSET
    inference: Annotated[list[InferredField] | UnsetType, doc("Accompanies `accepted`.")] = UNSET
    field_warnings: Annotated[list[FieldWarning] | UnsetType, doc("Accompanies `accepted`.")] = (
        UNSET
    )
