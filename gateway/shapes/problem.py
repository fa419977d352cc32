"""A failure as it is answered."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from hedgerow.gateway.shapes.answer import Coverage, Fetch, Hit, Shards, TotalHits
from hedgerow.gateway.shapes.collection import RejectedLine
from hedgerow.gateway.shapes.doc import doc
from hedgerow.gateway.shapes.operations import ShortageStatus

Cause = Literal[
    "limit", "batch_share", "share", "rate", "backlog", "loads", "requests", "connections"
]


class FieldError(msgspec.Struct, frozen=True, gc=False):
    """One thing at fault in a request."""

    field: str
    reason: str


class Problem(msgspec.Struct, frozen=True, gc=False):
    """A failure, as RFC 9457 has it, with the members that its type adds."""

    type: str
    title: str
    status: int
    detail: str
    field: Annotated[str | UnsetType, doc("bad-request: what is at fault.")] = UNSET
    reason: Annotated[str | UnsetType, doc("bad-request: why.")] = UNSET
    position: Annotated[int | UnsetType | None, doc("bad-request: where in the field's value.")] = (
        UNSET
    )
    errors: Annotated[list[FieldError] | UnsetType, doc("bad-request: all that is at fault.")] = (
        UNSET
    )
    hits: Annotated[list[Hit] | UnsetType, doc("insufficient-coverage: what there is.")] = UNSET
    total_hits: Annotated[TotalHits | UnsetType, doc("insufficient-coverage: as in an answer.")] = (
        UNSET
    )
    coverage: Annotated[Coverage | UnsetType, doc("insufficient-coverage: how far it got.")] = UNSET
    shards: Annotated[Shards | UnsetType, doc("insufficient-coverage: who did what.")] = UNSET
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
    cause: Annotated[Cause | UnsetType, doc("overloaded: what there is too much of.")] = UNSET
    retry_after_s: Annotated[
        float | UnsetType,
        doc("overloaded: Retry-After, which is in whole seconds, more exactly."),
    ] = UNSET
    shortages: Annotated[
        list[ShortageStatus] | UnsetType, doc("insufficient-storage: what runs out, and where.")
    ] = UNSET
    accepted: Annotated[
        int | UnsetType, doc("unavailable and insufficient-storage, of a load: documents logged.")
    ] = UNSET
    rejected: Annotated[list[RejectedLine] | UnsetType, doc("Beside `accepted`.")] = UNSET
    rejected_total: Annotated[int | UnsetType, doc("Beside `accepted`.")] = UNSET
    applied: Annotated[bool | UnsetType, doc("Beside `accepted`.")] = UNSET
    inferred_fields: Annotated[dict[str, str] | UnsetType, doc("Beside `accepted`.")] = UNSET
