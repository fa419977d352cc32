"""The route of suggestions."""

from typing import Annotated

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.openapi import answers
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import json_response
from hedgerow.gateway.http.requests.guard import caller_of, peer_in, traceparent_in
from hedgerow.gateway.http.routing.router import Router
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


def suggest_routes(gateway: GatewayPort, settings: GatewaySettings) -> Router:
    """Make the route that suggests texts while a query is typed."""
    router = Router()

    @router.get(
        "/v1/collections/{name}/suggest",
        summary="Suggest texts for the beginning of a query",
        responses=answers(200, SuggestAnswer, 400, 404, 429, 503, 504),
    )
    async def suggest(
        name: str,
        request: Request,
        prefix: Annotated[str, Meta(max_length=min(MAX_PREFIX_CHARS, settings.max_query_chars))],
        field: Annotated[str, Meta(max_length=MAX_FIELD_CHARS)],
        size: Annotated[int, Meta(ge=1, le=MAX_SUGGESTIONS)] = 10,
        deadline_ms: Annotated[float, Meta(gt=0, le=settings.max_deadline_ms)] = min(
            settings.default_deadline_ms, settings.max_deadline_ms
        ),
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
