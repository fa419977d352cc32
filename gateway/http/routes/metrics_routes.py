"""The route that Prometheus scrapes."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hedgerow.common.errors import NotFoundError
from hedgerow.common.metrics.exposition import TextFormat, wanted_format
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.http.openapi import answers
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.requests.guard import METRICS_PATH
from hedgerow.gateway.http.requests.in_progress import in_progress
from hedgerow.gateway.http.routing.router import Router


def metrics_routes(
    gateway: GatewayPort, settings: GatewaySettings, access: AccessControl
) -> Router:
    """Make the route of the metrics."""
    router = Router()

    @router.get(
        METRICS_PATH,
        summary="Show metrics for Prometheus, as OpenMetrics or in Prometheus's text format",
        responses=_text_answers(),
    )
    async def metrics(request: Request) -> Response:
        if settings.processes > 1 and _port_of(request) == settings.port:
            # Each scrape would reach another process, whose counters are others.
            raise NotFoundError(
                f"{settings.processes} processes share this port, and each has metrics of its own: "
                "set gateway.process_port, and scrape each process at its own port"
            )
        form = wanted_format(",".join(request.headers.getlist("accept")))
        with in_progress(gateway.requests, request.scope):
            keys = access.to_json(gateway.callers())["keys"]
            text = await gateway.metrics_text(form, keys)
        # The media type is complete: the framework would append another charset.
        return Response(text, headers={"content-type": form.value, "vary": "accept"})

    return router


def _port_of(request: Request) -> int | None:
    """Return the port at which a request has arrived."""
    server = request.scope.get("server")
    return None if server is None else int(server[1])


def _text_answers() -> dict[int | str, Any]:
    described = answers(200, None, 400, 404)
    content = {form.value.partition(";")[0]: {"schema": {"type": "string"}} for form in TextFormat}
    return {**described, 200: {**described[200], "content": content}}
