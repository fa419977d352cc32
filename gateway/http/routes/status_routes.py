"""The routes of health, the cluster's state, and breakers set by hand."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hedgerow.common.errors import UnavailableError
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.http.openapi import answers, json_body
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import json_response
from hedgerow.gateway.http.requests.bodies import body_reader
from hedgerow.gateway.http.requests.in_progress import in_progress
from hedgerow.gateway.http.requests.limits import read_body
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.shapes.operations import BreakerBody
from hedgerow.gateway.shapes.status import StatusAnswer


def _flag(name: str, *problems: int) -> dict[int | str, Any]:
    """Describe an answer of one member that is true."""
    shape = {"type": "object", "properties": {name: {"const": True}}, "required": [name]}
    content = {"application/json": {"schema": shape}}
    return {**answers(200, None, *problems), 200: {"description": "Done", "content": content}}


def status_routes(gateway: GatewayPort, settings: GatewaySettings, access: AccessControl) -> Router:
    """Make the routes for operators and orchestrators."""
    router = Router()
    read_breaker = body_reader(BreakerBody)

    @router.get(
        "/healthz",
        summary="Whether the process lives",
        responses=_flag("alive", 400),
    )
    async def healthz() -> Response:
        return json_response({"alive": True})

    @router.get(
        "/readyz",
        summary="Whether Redis answers, a shard is live, and the gateway is not about to stop",
        responses=_flag("ready", 400, 503),
    )
    async def readyz() -> Response:
        if gateway.is_leaving:
            raise UnavailableError("this gateway is about to stop")
        if not gateway.is_ready:
            raise UnavailableError("Redis does not answer, or no shard has a live worker")
        return json_response({"ready": True})

    @router.get(
        "/v1/status",
        summary="Show shards, workers, documents, breakers, backlog and quarantine",
        responses=answers(200, StatusAnswer, 400),
    )
    async def status(request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            found = await gateway.status()
            own = {**found["gateway"], "access": access.to_json(gateway.callers())}
            return json_response({**found, "gateway": own})

    @router.post(
        "/v1/shards/{shard}/breaker",
        summary="Set a shard's breaker by hand, in every gateway",
        responses=answers(200, BreakerBody, 400, 413, 503),
        body=json_body(BreakerBody),
    )
    async def set_breaker(shard: int, request: Request) -> Response:
        raw = await read_body(request.scope, request.receive, settings.max_body_bytes)
        body = read_breaker(raw)
        await gateway.set_breaker_everywhere(shard, body.state)
        return json_response(body)

    return router
