"""The shapes of bodies as OpenAPI shows them at /docs; no request passes through these models."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from hedgerow.common.collection import MAX_WEIGHT, FieldType
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.http.problems import MEDIA_TYPE
from hedgerow.gateway.http.requests.guard import OPEN_PATHS
from hedgerow.gateway.http.schema.status_schema import (
    CoverageReport,
    QuarantineAnswer,
    ShortageStatus,
    StatusAnswer,
)

_REF: Final = "#/components/schemas/"
# What every route but health checks may answer, before it is asked anything.
BY_GUARD: Final = (401, 403, 429)


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Hit(_Shape):
    """One document found."""

    id: str
    score: float
    shard: int
    fields: dict[str, Any] | None = Field(description="null: not asked for, or not fetched.")


class TotalHits(_Shape):
    """How many documents match: exactly (eq) or at least (gte)."""

    value: int
    relation: Literal["eq", "gte"]


class Coverage(_Shape):
    """The share of the documents that the answer reflects."""

    fraction: float
    documents: int
    documents_total: int
    is_full: bool
    degraded: dict[str, int] = Field(description="Outcome to number of shards that ended so.")


class ShardDetail(_Shape):
    """How one shard's part went; times in µs."""

    shard: int
    outcome: Outcome
    reason: str
    worker: str
    lane: str
    queue_us: int = Field(description="Time in the shard's queue in Redis.")
    lane_us: int = Field(description="Wait for a free place in the worker's lane.")
    work_us: int = Field(description="Retrieval and scoring.")
    took_us: int = Field(description="From sending to the reply, as the gateway saw it.")
    breaker: str
    hedged_us: int = Field(description="From sending to the second copy; 0 when none was sent.")
    is_hedge: bool = Field(description="Whether the second copy was the one that answered.")


class Shards(_Shape):
    """How many shards ended how; the counts sum to `total`."""

    total: int
    ok: int
    timed_out: int
    failed: int
    unavailable: int
    breaker_open: int
    shed: int
    cancelled: int
    detail: list[ShardDetail]


class FetchProblem(_Shape):
    """Why a part of the hits lacks fields, or is not enriched."""

    shard: int
    reason: str


class Fetch(_Shape):
    """How the hits' fields were read."""

    fetched: int
    missing: int = Field(description="Hits whose fields are null although they were requested.")
    left_out: int = Field(
        description="Those of them that were left out because a limit on bytes was reached."
    )
    problems: list[FetchProblem]


class SearchAnswer(_Shape):
    """The answer to a search."""

    hits: list[Hit]
    total_hits: TotalHits
    coverage: Coverage
    shards: Shards
    fetch: Fetch | None = Field(description="null when no fields were asked for.")
    warnings: list[str] = Field(description="What the lenient parser repaired in the query.")
    took_ms: float
    deadline_ms: float


class FieldError(_Shape):
    """One thing at fault in a request."""

    field: str
    reason: str


class Problem(BaseModel):
    """A failure, as RFC 9457 has it, with the members that its type adds."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    field: str | None = Field(None, description="bad-request: what is at fault.")
    reason: str | None = Field(None, description="bad-request: why.")
    position: int | None = Field(None, description="bad-request: where in the field's value.")
    errors: list[FieldError] | None = Field(None, description="bad-request: all that is at fault.")
    hits: list[Hit] | None = Field(None, description="insufficient-coverage: what there is.")
    coverage: Coverage | None = Field(None, description="insufficient-coverage: how far it got.")
    shards: Shards | None = Field(None, description="insufficient-coverage: who did what.")
    cause: (
        Literal[
            "limit",
            "batch_share",
            "share",
            "rate",
            "backlog",
            "loads",
            "requests",
            "connections",
        ]
        | None
    ) = Field(None, description="overloaded: what there is too much of.")
    retry_after_s: float | None = Field(
        None, description="overloaded: Retry-After, which is in whole seconds, more exactly."
    )
    accepted: int | None = Field(
        None, description="unavailable and insufficient-storage, of a load: documents logged."
    )
    shortages: list[ShortageStatus] | None = Field(
        None, description="insufficient-storage: what runs out, and where."
    )


class RejectedLine(_Shape):
    """A line of a bulk load that did not go in."""

    line: int = Field(description="Counted from 1.")
    reason: str


class LoadAnswer(_Shape):
    """What became of a bulk load."""

    accepted: int = Field(description="Documents logged; a later line of the same id counts too.")
    rejected: list[RejectedLine] = Field(description="The first 1000 of them.")
    rejected_total: int
    applied: bool = Field(description="Whether they can be found.")
    inferred_fields: dict[str, str] | None = Field(
        None, description="The fields that the first documents gave the collection."
    )


class ShardDocuments(_Shape):
    """How many documents of a collection one shard holds."""

    shard: int
    documents: int


class WeightedField(_Shape):
    """A text field with a weight."""

    type: Literal[FieldType.TEXT]
    weight: int = Field(
        1,
        ge=0,
        le=MAX_WEIGHT,
        description="How often its words count where a query names no field.",
    )


class CollectionAnswer(_Shape):
    """A collection."""

    name: str
    fields: dict[str, FieldType | WeightedField] | None = Field(
        description="null until inferred from documents."
    )
    rank_profile: str = Field(description="That of a search which names none.")
    rank_profiles: list[str] = Field(description="Those that a search may name.")
    language: str
    documents: int
    shards: list[ShardDocuments]


class CollectionsAnswer(_Shape):
    """All collections."""

    collections: list[CollectionAnswer]


class CurveAnswer(CoverageReport):
    """The whole curve of a collection, by the queries of the gateway that answers."""

    name: str


class CollectionBody(_Shape):
    """The definition of a collection."""

    fields: dict[str, FieldType | WeightedField] = Field(
        default_factory=dict,
        description="Inferred from the first documents if left out. A text field may have a "
        "weight, see docs/ranking.md.",
    )
    rank_profile: str = "bm25"
    language: str = "english"


class BreakerBody(_Shape):
    """What a breaker is set to by hand."""

    state: Literal["forced_open", "disabled", "closed"]


class SnapshotAnswer(_Shape):
    """When snapshots were asked for."""

    wanted_at_ms: int = Field(
        description="A shard has its snapshot once `snapshots[].made_at_ms` in the status is not "
        "before this."
    )
    shards: int = Field(description="How many snapshots there will be.")


class OptimiseAnswer(_Shape):
    """When the optimising of a collection's text indexes was asked for."""

    wanted_at_ms: int = Field(
        description="It is done once `collections[].index` in the status shows this time, or a "
        "later one, and no replica waiting."
    )


_REASONS: Final = {
    400: "The request cannot be used; names the field and the reason",
    401: "The bearer token or key is missing or wrong",
    403: "The key lacks a right or a collection, or the Host or Origin is not allowed",
    404: "No such collection, document or shard",
    409: "The collection exists with another definition, or there are too many",
    413: "A limit was passed",
    429: "Too many queries or requests are in progress, or the key sends too much; Retry-After "
    "says when to try again",
    503: "Nobody can answer now; Retry-After says when to try again",
    504: "Coverage is below minimum_coverage; carries the hits that there are",
    507: "A disk or memory runs out; shortages says which, Retry-After when to try again",
}
MODELS: Final[tuple[type[BaseModel], ...]] = (
    SearchAnswer,
    Problem,
    LoadAnswer,
    CollectionAnswer,
    CollectionsAnswer,
    CurveAnswer,
    CollectionBody,
    BreakerBody,
    SnapshotAnswer,
    OptimiseAnswer,
    QuarantineAnswer,
    StatusAnswer,
)


def answers(status: int, model: type[BaseModel] | None, *problems: int) -> dict[int | str, Any]:
    """Describe a route's answer and the problems that it may answer with instead."""
    content = {"application/json": {"schema": {"$ref": _REF + model.__name__}}} if model else {}
    return {status: {"description": "Done", "content": content}, **_problems(problems)}


def _problems(statuses: Iterable[int | str]) -> dict[int | str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF + "Problem"}}}
    return {one: {"description": _REASONS[int(one)], "content": content} for one in statuses}


def json_body(model: type[BaseModel], *, is_required: bool = True) -> dict[str, Any]:
    """Describe a body that the route reads and checks by itself."""
    content = {"application/json": {"schema": {"$ref": _REF + model.__name__}}}
    return {"requestBody": {"required": is_required, "content": content}}


def add_openapi(app: FastAPI, *models: type[BaseModel]) -> None:
    """Make `app` describe itself with this module's shapes and `models`."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            _, defs = models_json_schema(
                [(model, "validation") for model in (*MODELS, *models)],
                ref_template=_REF + "{model}",
            )
            schema["components"] = {"schemas": defs["$defs"]}
            for path, operation in _operations(schema):
                operation["responses"].pop("422", None)  # bad parameters are 400 here
                if path not in OPEN_PATHS:
                    refusals = _problems(str(status) for status in BY_GUARD)
                    operation["responses"] = {**refusals, **operation["responses"]}
                    operation["security"] = [{"bearer": []}, {}]
            schema["components"]["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer", "description": "The token or a key."}
            }
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign] # the framework's documented way


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            yield path, operation
