"""The routes of the reindex, which copies a collection into another one that replaces it."""

from starlette.requests import Request
from starlette.responses import Response

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.openapi import answers, json_body
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import json_response
from hedgerow.gateway.http.requests.bodies import body_reader
from hedgerow.gateway.http.requests.in_progress import in_progress
from hedgerow.gateway.http.requests.limits import read_body
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.shapes.reindex import ReindexAnswer, ReindexBody


def reindex_routes(gateway: GatewayPort, settings: GatewaySettings) -> Router:
    """Make the routes."""
    router = Router()
    read = body_reader(ReindexBody)

    @router.get(
        "/v1/reindex",
        summary="Show the last reindex, and how far it is",
        responses=answers(200, ReindexAnswer, 400, 503),
    )
    async def describe_reindex(request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.reindexes.describe())

    @router.post(
        "/v1/reindex",
        summary="Copy a collection into another one, which replaces it behind an alias",
        responses=answers(202, ReindexAnswer, 400, 404, 409, 413, 503, 507),
        body=json_body(ReindexBody),
    )
    async def begin_reindex(request: Request) -> Response:
        body = read(await read_body(request.scope, request.receive, settings.max_body_bytes))
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.reindexes.begin(body), 202)

    @router.delete(
        "/v1/reindex",
        summary="Cancel the reindex; after its switch, have the old collection follow no longer",
        responses=answers(202, ReindexAnswer, 400, 404, 409, 503),
    )
    async def end_reindex(request: Request, after_switch: bool = False) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.reindexes.end(after_switch=after_switch), 202)

    return router
