"""The route of suggestions."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.openapi import answers
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import json_response
from hedgerow.gateway.http.requests.guard import caller_of, peer_in, traceparent_in
from hedgerow.gateway.search.suggesting import (
    MAX_FIELD_CHARS,
    MAX_PREFIX_CHARS,
    MAX_SUGGESTIONS,
    SPARE,
    check_field,
    suggesting_query,
    suggestions_of,
)
from hedgerow.gateway.shapes.suggest import SuggestAnswer


def suggest_routes(gateway: GatewayPort, settings: GatewaySettings) -> APIRouter:
    """Make the route that suggests texts while a query is typed."""
    router = APIRouter()

    @router.get(
        "/v1/collections/{name}/suggest",
        summary="Suggest texts for the beginning of a query",
        responses=answers(200, SuggestAnswer, 400, 404, 429, 503, 504),
        response_class=Response,
    )
    async def suggest(
        name: str,
        request: Request,
        prefix: Annotated[str, Query(max_length=min(MAX_PREFIX_CHARS, settings.max_query_chars))],
        field: Annotated[str, Query(max_length=MAX_FIELD_CHARS)],
        size: Annotated[int, Query(ge=1, le=MAX_SUGGESTIONS)] = 10,
        deadline_ms: Annotated[
            float, Query(gt=0, le=settings.max_deadline_ms, allow_inf_nan=False)
        ] = min(settings.default_deadline_ms, settings.max_deadline_ms),
    ) -> Response:
        query = suggesting_query(
            name,
            field,
            prefix,
            k=min(size * SPARE, settings.max_k),
            deadline_ms=deadline_ms,
            caller=caller_of(request.scope),
            peer=peer_in(request.scope),
            traceparent=traceparent_in(request.scope),
        )
        check_field(field, gateway.collections.get(name))
        # The result's lease lasts until its texts are taken.
        result = await gateway.search_held(query)
        return json_response(suggestions_of(result, field, size))

    return router
