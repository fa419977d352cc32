"""The route by which operators ask for snapshots."""

from starlette.requests import Request
from starlette.responses import Response

from hedgerow.gateway.http.openapi import answers
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import json_response
from hedgerow.gateway.http.requests.in_progress import in_progress
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.shapes.operations import SnapshotAnswer


def snapshot_routes(gateway: GatewayPort) -> Router:
    """Make the route."""
    router = Router()

    @router.post(
        "/v1/snapshots",
        summary="Ask the workers for a snapshot of every shard",
        responses=answers(202, SnapshotAnswer, 400, 503, 507),
    )
    async def create_snapshots(request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.snapshots.create(), 202)

    return router
