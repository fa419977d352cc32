"""The route of server-sent events: the cluster as it changes."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hedgerow.gateway.http.openapi import answers
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.requests.guard import caller_of, party_of
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.live.live import Live
from hedgerow.gateway.live.viewers import Viewer

MEDIA_TYPE = "text/event-stream"


def event_routes(gateway: GatewayPort) -> Router:
    """Make the route."""
    router = Router()
    done = answers(200, None, 400)
    done[200] = {
        "description": (
            "Messages `history`, then `status`, `point` and `event`; see docs/http-status.md"
        ),
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    }

    @router.get(
        "/v1/events",
        summary="Follow the state of the cluster, second by second (server-sent events)",
        responses=done,
    )
    async def events(request: Request) -> Response:
        caller = caller_of(request.scope)
        key = caller.name if caller.is_key else None
        return EventStream(gateway.live, gateway.live.open(key, party_of(request.scope)))

    return router


class EventStream(Response):
    """An answer that goes on until the viewer leaves, does not keep up, or is closed."""

    media_type = MEDIA_TYPE

    def __init__(self, live: Live, viewer: Viewer) -> None:
        """Send what `viewer` gets."""
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._live = live
        self._viewer = viewer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send the answer."""
        viewer = self._viewer
        watch = asyncio.create_task(_leave_with_client(receive, viewer), name="viewer leaves")
        try:
            headers = self.raw_headers
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while data := await viewer.take():
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._live.leave(viewer)
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)


async def _leave_with_client(receive: Receive, viewer: Viewer) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.close()
