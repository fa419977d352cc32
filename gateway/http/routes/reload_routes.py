"""The route that reads the rank profiles again."""

from starlette.requests import Request
from starlette.responses import Response

from hedgerow.gateway.http.openapi import answers
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import json_response
from hedgerow.gateway.http.requests.in_progress import in_progress
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.shapes.operations import ReloadAnswer


def reload_routes(gateway: GatewayPort) -> Router:
    """Make the route."""
    router = Router()

    @router.post(
        "/v1/reload",
        summary="Read the rank profiles again, after every worker has checked them",
        responses=answers(200, ReloadAnswer, 400, 409, 503),
    )
    async def reload(request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.reloader.reload())

    return router
