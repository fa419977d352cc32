"""The routes of the placement: which worker serves which shard, and drains."""

from starlette.requests import Request
from starlette.responses import Response

from hedgerow.gateway.http.openapi import answers
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import json_response
from hedgerow.gateway.http.requests.in_progress import in_progress
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.shapes.placement import PlacementAnswer, RebalanceAnswer


def placement_routes(gateway: GatewayPort) -> Router:
    """Make the routes."""
    router = Router()

    @router.get(
        "/v1/placement",
        summary="Show which worker should serve which shard, and what moves",
        responses=answers(200, PlacementAnswer, 400, 503),
    )
    async def describe_placement(request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.placement.describe())

    @router.put(
        "/v1/placement/draining/{worker}",
        summary="Drain a worker: let others take over its shards",
        responses=answers(204, None, 400, 404, 409, 503),
    )
    async def drain_worker(worker: str, request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            await gateway.placement.drain(worker)
        return Response(status_code=204)

    @router.delete(
        "/v1/placement/draining/{worker}",
        summary="Cancel the drain of a worker",
        responses=answers(204, None, 400, 404, 503),
    )
    async def cancel_drain(worker: str, request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            await gateway.placement.cancel_drain(worker)
        return Response(status_code=204)

    @router.post(
        "/v1/placement/rebalance",
        summary="Balance the shards without waiting for lost workers",
        responses=answers(202, RebalanceAnswer, 400, 503),
    )
    async def rebalance(request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.placement.rebalance(), 202)

    return router
