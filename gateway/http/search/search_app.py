"""Answers POST /v1/collections/{name}/search before the routes are reached."""

from typing import Final

import msgspec
from msgspec.structs import astuple
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from hedgerow.common.errors import (
    BadRequestError,
    InsufficientCoverageError,
    NotFoundError,
    OverloadedError,
)
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.caller import Caller, Right
from hedgerow.gateway.http.openapi import answers, json_body
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import (
    CLIENT_CLOSED_REQUEST,
    coverage_status,
    insufficient_coverage,
    problem_of,
)
from hedgerow.gateway.http.requests.bodies import body_reader
from hedgerow.gateway.http.requests.guard import (
    caller_of,
    peer_in,
    real_name_in,
    traceparent_in,
)
from hedgerow.gateway.http.requests.hang_up import ClientLeftError, unless_client_leaves
from hedgerow.gateway.http.requests.held import send_body
from hedgerow.gateway.http.requests.limits import read_body
from hedgerow.gateway.http.requests.parameters import check_parameters, check_path
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.search.documents.answer_memory import Lease
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.search_body import check_asks
from hedgerow.gateway.shapes.answer import SearchAnswer
from hedgerow.gateway.views.json_bytes import encode_shape

PATH: Final = "/v1/collections/{name}/search"
_PATTERN: Final = compile_path(PATH)[0]  # as the routes match


class SearchApp:
    """Answers searches, and passes other requests to another application.

    Finding a route and reading parameters add nothing to a search, which has no parameters.

    Attributes:
        max_body_bytes: the largest body of a search.
    """

    def __init__(
        self,
        otherwise: ASGIApp,
        gateway: GatewayPort,
        settings: GatewaySettings,
        body: type[msgspec.Struct],
    ) -> None:
        """Answer searches with `body` from `gateway`, and other requests with `otherwise`."""
        self._otherwise = otherwise
        self._gateway = gateway
        self._read = body_reader(body)
        self.max_body_bytes = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            if scope["type"] == "http":
                check_path(scope)  # before every route
        except BadRequestError as error:
            await problem_of(error)(scope, receive, send)
            return
        collection = _searched_collection(scope)
        if collection is None:
            await self._otherwise(scope, receive, send)
            return
        caller, query = caller_of(scope), None
        try:
            real_name = real_name_in(scope, collection)
            caller.check(Right.SEARCH, collection, real_name)
            check_parameters(scope, ())
            raw = await read_body(scope, receive, self.max_body_bytes)
            # The result's lease lasts until its answer is sent.
            query = self.query(real_name, raw, caller, peer_in(scope), traceparent_in(scope))
            body, lease = await unless_client_leaves(receive, self.search(query))
        except Exception as error:  # noqa: BLE001 - unexpected errors become problems too
            if query is None:
                self.count_unread(caller.name, error)
            await self.refusal(error)(scope, receive, send)
            return
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send_body(send, body)
        del lease

    async def search(self, query: SearchQuery) -> tuple[bytes, Lease | None]:
        """Answer a query, and encode the answer.

        `refusal` describes whatever this raises.

        Returns:
            The answer, and its lease of the gateway's memory until it is sent.
        """
        result = await self._gateway.search_held(query)
        return encode_shape(result.answer()), result.lease

    def overload(self, query: SearchQuery) -> OverloadedError | None:
        """Return a refusal if there is no room for a query, or None."""
        try:
            return self._gateway.refusal_of(query)
        except NotFoundError:
            return None  # the search itself reports it

    def count_unread(self, caller: str, error: Exception) -> None:
        """Count a search that was refused before it was read; the gateway counts all others."""
        self._gateway.count_unread(caller, error)

    def query(
        self, collection: str, raw: bytes, caller: Caller, peer: str, traceparent: str
    ) -> SearchQuery:
        """Read a body as a query of a caller at an address, and perhaps within its trace.

        Raises:
            BadRequestError: names each invalid member and the reason.
        """
        body = self._read(raw)
        check_asks(body, lambda: msgspec.json.decode(raw))
        # In the order of `Search`.
        members = (collection, *astuple(body), caller, peer, traceparent)
        return SearchQuery(*members)

    def refusal(self, error: Exception) -> Response:
        """Describe why a search was not answered."""
        if isinstance(error, ClientLeftError):
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        return search_problem(error, is_ready=self._gateway.is_ready)


def search_problem(error: Exception, *, is_ready: bool) -> Response:
    """Describe why a search has no answer, by a gateway that is ready or not."""
    if isinstance(error, InsufficientCoverageError):
        # If Redis has failed since, no shard is available, whatever the outcomes.
        return insufficient_coverage(error, coverage_status(error.result) if is_ready else 503)
    return problem_of(error)


def _searched_collection(scope: Scope) -> str | None:
    """Return the collection that a request searches; None for other requests."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    match = _PATTERN.match(scope["path"].removeprefix(scope.get("root_path", "")))
    return match and match[1]


def search_routes(body: type[msgspec.Struct]) -> Router:
    """Make the route that describes the search, which `SearchApp` answers."""
    router = Router()

    @router.post(
        PATH,
        summary="Search a collection",
        responses=answers(200, SearchAnswer, 400, 404, 413, 429, 503, 504),
        body=json_body(body),
    )
    async def search(name: str) -> Response:  # noqa: ARG001 - stands for the path's parameter
        raise AssertionError("SearchApp comes first")

    return router
