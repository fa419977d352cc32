"""The routes of synonyms."""

from starlette.requests import Request
from starlette.responses import Response

from hedgerow.gateway.http.openapi import answers, json_body
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import json_response
from hedgerow.gateway.http.requests.bodies import body_reader
from hedgerow.gateway.http.requests.in_progress import in_progress
from hedgerow.gateway.http.requests.limits import read_body
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.shapes.synonyms import SynonymsAnswer, SynonymsBody


def synonym_routes(gateway: GatewayPort, max_bytes: int) -> Router:
    """Make the routes of the synonyms of a collection; `max_bytes` bounds a body."""
    router = Router()
    read_synonyms = body_reader(SynonymsBody)

    @router.put(
        "/v1/collections/{name}/synonyms",
        summary="Replace the synonyms of a collection",
        responses=answers(200, SynonymsAnswer, 400, 404, 413, 503, 507),
        body=json_body(SynonymsBody),
    )
    async def put_synonyms(name: str, request: Request) -> Response:
        body = read_synonyms(await read_body(request.scope, request.receive, max_bytes))
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.synonyms.put(name, body))

    @router.get(
        "/v1/collections/{name}/synonyms",
        summary="Show the synonyms of a collection",
        responses=answers(200, SynonymsAnswer, 400, 404, 503),
    )
    async def get_synonyms(name: str, request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.synonyms.get(name))

    @router.delete(
        "/v1/collections/{name}/synonyms",
        summary="Remove the synonyms of a collection",
        responses=answers(204, None, 400, 404, 503, 507),
    )
    async def delete_synonyms(name: str, request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            await gateway.synonyms.remove(name)
        return Response(status_code=204)

    return router
