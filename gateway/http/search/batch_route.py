"""The route of batches of searches."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hedgerow.common.errors import BadRequestError
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.openapi import answers, json_body
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import CLIENT_CLOSED_REQUEST
from hedgerow.gateway.http.requests.bodies import body_reader
from hedgerow.gateway.http.requests.guard import caller_of
from hedgerow.gateway.http.requests.hang_up import ClientLeftError, unless_client_leaves
from hedgerow.gateway.http.requests.held import HeldAnswer
from hedgerow.gateway.http.requests.limits import read_body
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.http.search.batch import Batch
from hedgerow.gateway.search.batch_body import BatchShapes
from hedgerow.gateway.shapes.batch import BatchAnswer

PATH = "/v1/search:batch"


def batch_routes(gateway: GatewayPort, settings: GatewaySettings, shapes: BatchShapes) -> Router:
    """Make the route that answers several searches at once."""
    router = Router()
    read = body_reader(shapes.read)

    @router.post(
        PATH,
        summary="Send several searches, of any collections",
        responses=answers(200, BatchAnswer, 400, 413),
        body=json_body(shapes.body),
    )
    async def search_batch(request: Request) -> Response:
        try:
            raw = await read_body(request.scope, request.receive, settings.max_body_bytes)
            given: Any = read(raw)
            _check_number(len(given.searches), settings.max_batch_searches)
        except Exception as error:
            gateway.count_unread(caller_of(request.scope).name, error)
            raise
        batch = Batch(gateway, request.scope, given.searches, given.deadline_ms, shapes.search)
        try:
            body, lease = await unless_client_leaves(request.receive, batch.run())
        except ClientLeftError:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        return HeldAnswer(body, lease)

    return router


def _check_number(num: int, most: int) -> None:
    if num > most:
        raise BadRequestError(
            "searches", f"has {num} searches; the limit is {most} (gateway.max_batch_searches)"
        )
