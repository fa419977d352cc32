"""The routes of the quarantine: queries that are refused because they have killed scorers."""

from starlette.requests import Request
from starlette.responses import Response

from hedgerow.gateway.http.openapi import answers
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import json_response
from hedgerow.gateway.http.requests.in_progress import in_progress
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.shapes.operations import QuarantineAnswer


def quarantine_routes(gateway: GatewayPort) -> Router:
    """Make the routes that list quarantined queries and release them."""
    router = Router()

    @router.get(
        "/v1/quarantine",
        summary="List the queries that have killed scorers",
        responses=answers(200, QuarantineAnswer, 400, 503),
    )
    async def list_quarantine(request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response({"quarantine": await gateway.quarantine.list()})

    @router.delete(
        "/v1/quarantine/{fingerprint}",
        summary="Take a query out of quarantine",
        responses=answers(204, None, 400, 404, 503),
    )
    async def lift_quarantine(fingerprint: str, request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            await gateway.quarantine.lift(fingerprint)
        return Response(status_code=204)

    return router
