"""Which right each route needs."""

from collections.abc import Mapping
from typing import Final

from fastapi import Request
from fastapi.routing import APIRoute

from hedgerow.gateway.access.caller import Right
from hedgerow.gateway.http.requests.guard import OPEN_PATHS, caller_of

_SEARCH, _WRITE, _ADMIN = Right.SEARCH, Right.WRITE, Right.ADMIN

# Method and path of a route → the right that it demands: of the collection `{name}` where the path
# has one, else of the whole cluster. None: whoever may ask at all, and sees what is theirs.
RIGHTS: Final[Mapping[tuple[str, str], Right | None]] = {
    ("POST", "/v1/collections/{name}/search"): _SEARCH,
    ("GET", "/v1/collections"): None,
    ("PUT", "/v1/collections/{name}"): _WRITE,
    ("GET", "/v1/collections/{name}"): _SEARCH,
    ("DELETE", "/v1/collections/{name}"): _WRITE,
    ("POST", "/v1/collections/{name}/optimise"): _ADMIN,
    ("GET", "/v1/collections/{name}/coverage-curve"): _SEARCH,
    ("POST", "/v1/collections/{name}/documents"): _WRITE,
    ("GET", "/v1/collections/{name}/documents/{document_id:path}"): _SEARCH,
    ("PUT", "/v1/collections/{name}/documents/{document_id:path}"): _WRITE,
    ("DELETE", "/v1/collections/{name}/documents/{document_id:path}"): _WRITE,
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/v1/status"): _ADMIN,
    ("POST", "/v1/shards/{shard}/breaker"): _ADMIN,
    ("POST", "/v1/snapshots"): _ADMIN,
    ("GET", "/v1/quarantine"): _ADMIN,
    ("DELETE", "/v1/quarantine/{fingerprint}"): _ADMIN,
}


async def check_rights(request: Request) -> None:
    """Make sure that who has sent a request may do what its route does.

    Raises:
        ForbiddenError: names the right or the collection that is lacking.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or route.path in OPEN_PATHS:
        return
    # A route that the table forgets is an operator's.
    right = RIGHTS.get((request.method, route.path), _ADMIN)
    if right is not None:
        caller_of(request.scope).check(right, request.path_params.get("name"))
