"""POST /v1/collections/{name}/search."""

from typing import Literal

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.routing import Route

from common.config import GatewaySettings
from common.errors import BadBodyError, InsufficientCoverageError
from gateway.http.hang_up import ClientLeftError, unless_client_leaves
from gateway.http.limits import read_body
from gateway.http.parameters import check_address
from gateway.http.ports import GatewayPort
from gateway.http.problems import (
    coverage_status,
    insufficient_coverage,
    encode_result,
    reasons,
)
from gateway.http.schema import SearchAnswer, answers, json_body
from gateway.result import SearchQuery


class Search(BaseModel):
    """A search as it is asked, whatever a gateway's limits and defaults are."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    query: str
    k: int
    deadline_ms: float
    rank_profile: str | None = Field(
        None, description="Name of a configured rank profile; the collection's own if null."
    )
    filter: str
    fields: bool | list[str] = Field(
        True, description="Fields wanted in each hit: a list of names, true (all), false (none)."
    )
    minimum_coverage: float = Field(
        0.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Least share of the documents that the answer must reflect, 0 to 1.",
    )
    wait_for: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the documents that is enough: once it is covered, the rest is waited "
        "for only a part of the time left.",
    )
    explain: bool = Field(
        False, description="Whether every shard is detailed, or only those not ok."
    )
    syntax: Literal["lenient", "strict"] = Field(
        "lenient", description="Whether an error in the query is repaired, or refused."
    )
    priority: Literal["interactive", "batch"] = Field(
        "interactive", description="batch is refused first when there is too much to do."
    )


CLIENT_CLOSED_REQUEST = 499  # for logs alone: nobody is there to read it


def search_body(settings: GatewaySettings) -> type[Search]:
    """Make the body's model with the limits and defaults that the settings give."""

    class SearchBody(Search):
        """A search."""

        query: str = Field(
            max_length=settings.max_query_chars,
            description="The query: words, phrases, fields, ranges; see docs/ranking.md.",
        )
        k: int = Field(
            min(settings.default_k, settings.max_k),
            ge=1,
            le=settings.max_k,
            description="Most hits wanted.",
        )
        deadline_ms: float = Field(
            min(settings.default_deadline_ms, settings.max_deadline_ms),
            gt=0,
            le=settings.max_deadline_ms,
            allow_inf_nan=False,
            description="The answer leaves within so long, in ms.",
        )
        filter: str = Field(
            "",
            max_length=settings.max_query_chars,
            description="Query that hits must match too, without a say in their score.",
        )

    return SearchBody


def add_search(app: FastAPI, gateway: GatewayPort, settings: GatewaySettings) -> None:
    """Add the route that searches to `app`, ahead of its other routes.

    The framework's route describes it at /docs; requests go to a bare one, which spares each query
    the solving of dependencies that it has none of: 40 µs, of 73 that the whole face costs.
    """
    path = "/v1/collections/{name}/search"
    model = search_body(settings)
    validate = model.model_validate_json
    max_body_bytes = settings.max_body_bytes

    @app.post(
        path,
        summary="Search a collection",
        responses=answers(200, SearchAnswer, 400, 404, 413, 429, 503, 504),
        openapi_extra=json_body(model),
        response_class=Response,
    )
    async def described(name: str) -> Response:  # noqa: ARG001 - stands for the path's parameter
        raise AssertionError("the bare route comes first")

    async def search(request: Request) -> Response:
        await check_address(request)
        raw = await read_body(request, max_body_bytes)
        try:
            body = validate(raw)
        except ValidationError as error:
            raise BadBodyError(reasons(error.errors())) from error
        fields = body.fields
        query = SearchQuery(
            collection=request.path_params["name"],
            query=body.query,
            k=body.k,
            deadline_ms=body.deadline_ms,
            rank_profile=body.rank_profile,
            filter=body.filter,
            fields=tuple(fields) if isinstance(fields, list) else fields,
            minimum_coverage=body.minimum_coverage,
            wait_for=body.wait_for,
            explain=body.explain,
            syntax=body.syntax,
            priority=body.priority,
        )
        try:
            result = await unless_client_leaves(request, gateway.search(query))
        except ClientLeftError:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except InsufficientCoverageError as error:
            # Asked, but Redis has gone since: that is nobody live, whatever the shards' outcomes.
            status = coverage_status(error.result) if gateway.is_ready else 503
            return insufficient_coverage(error, status)
        return Response(encode_result(result), media_type="application/json")

    app.router.routes.insert(0, Route(path, search, methods=["POST"]))
