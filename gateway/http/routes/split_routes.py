"""The routes of the split, which doubles the number of shards."""

from starlette.requests import Request
from starlette.responses import Response

from hedgerow.gateway.http.openapi import answers
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import json_response
from hedgerow.gateway.http.requests.in_progress import in_progress
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.shapes.split import SplitAnswer


def split_routes(gateway: GatewayPort) -> Router:
    """Make the routes."""
    router = Router()

    @router.get(
        "/v1/split",
        summary="Show the number of shards, and how far their split is",
        responses=answers(200, SplitAnswer, 400, 503),
    )
    async def describe_split(request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.splits.describe())

    @router.post(
        "/v1/split",
        summary="Double the number of shards",
        responses=answers(202, SplitAnswer, 400, 409, 503, 507),
    )
    async def begin_split(request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.splits.begin(), 202)

    @router.delete(
        "/v1/split",
        summary="Cancel the split in progress",
        responses=answers(202, SplitAnswer, 400, 404, 409, 503),
    )
    async def cancel_split(request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.splits.cancel(), 202)

    return router
