"""The routes of the expiry of documents."""

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
from hedgerow.gateway.shapes.expiry import ExpiryAnswer, ExpiryBody


def expiry_routes(gateway: GatewayPort, settings: GatewaySettings) -> Router:
    """Make the routes that say when the documents of a collection expire."""
    router = Router()
    read_expiry = body_reader(ExpiryBody)

    @router.put(
        "/v1/collections/{name}/expiry",
        summary="Have documents expire at the date in a field",
        responses=answers(200, ExpiryAnswer, 400, 404, 413, 503, 507),
        body=json_body(ExpiryBody),
    )
    async def put_expiry(name: str, request: Request) -> Response:
        body = read_expiry(await read_body(request.scope, request.receive, settings.max_body_bytes))
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.expiry.set_field(name, body.field))

    @router.get(
        "/v1/collections/{name}/expiry",
        summary="Show by which field documents expire",
        responses=answers(200, ExpiryAnswer, 400, 404, 503),
    )
    async def get_expiry(name: str, request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.expiry.get(name))

    @router.delete(
        "/v1/collections/{name}/expiry",
        summary="Have documents expire no longer",
        responses=answers(204, None, 400, 404, 503, 507),
    )
    async def delete_expiry(name: str, request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            await gateway.expiry.remove(name)
        return Response(status_code=204)

    return router
