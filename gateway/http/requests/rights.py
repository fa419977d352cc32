"""Defines which right each route needs."""

from collections.abc import Mapping
from typing import Final

from fastapi import Request
from fastapi.routing import APIRoute

from hedgerow.gateway.access.caller import Right
from hedgerow.gateway.http.requests.guard import OPEN_PATHS, caller_of
from hedgerow.gateway.http.requests.page_paths import ROUTES as PAGE_ROUTES

_OPEN_ROUTES: Final = OPEN_PATHS | PAGE_ROUTES
_SEARCH, _WRITE, _ADMIN, _METRICS = Right.SEARCH, Right.WRITE, Right.ADMIN, Right.METRICS

# Method and path of a route → the right that it needs: for the collection `{name}` if the path has
# one, else for the whole cluster. None: any caller, who sees only what they have rights for.
RIGHTS: Final[Mapping[tuple[str, str], Right | None]] = {
    ("POST", "/v1/collections/{name}/search"): _SEARCH,
    ("GET", "/v1/collections"): None,
    ("PUT", "/v1/collections/{name}"): _WRITE,
    ("GET", "/v1/collections/{name}"): _SEARCH,
    ("PATCH", "/v1/collections/{name}"): _WRITE,
    ("DELETE", "/v1/collections/{name}"): _WRITE,
    ("POST", "/v1/collections/{name}/optimise"): _ADMIN,
    ("GET", "/v1/collections/{name}/coverage-curve"): _SEARCH,
    ("POST", "/v1/collections/{name}/documents"): _WRITE,
    ("GET", "/v1/collections/{name}/documents/{document_id:path}"): _SEARCH,
    ("PUT", "/v1/collections/{name}/documents/{document_id:path}"): _WRITE,
    ("DELETE", "/v1/collections/{name}/documents/{document_id:path}"): _WRITE,
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/metrics"): _METRICS,
    ("GET", "/v1/status"): _ADMIN,
    ("GET", "/v1/events"): _ADMIN,
    ("POST", "/v1/shards/{shard}/breaker"): _ADMIN,
    ("POST", "/v1/snapshots"): _ADMIN,
    ("POST", "/v1/reload"): _ADMIN,
    ("GET", "/v1/quarantine"): _ADMIN,
    ("DELETE", "/v1/quarantine/{fingerprint}"): _ADMIN,
    ("GET", "/v1/placement"): _ADMIN,
    ("PUT", "/v1/placement/draining/{worker}"): _ADMIN,
    ("DELETE", "/v1/placement/draining/{worker}"): _ADMIN,
    ("POST", "/v1/placement/rebalance"): _ADMIN,
    ("GET", "/v1/split"): _ADMIN,
    ("POST", "/v1/split"): _ADMIN,
    ("DELETE", "/v1/split"): _ADMIN,
}


async def check_rights(request: Request) -> None:
    """Check that the caller has the right that the route needs.

    Raises:
        ForbiddenError: names the missing right or collection.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or route.path in _OPEN_ROUTES:
        return
    # A route that is missing in the table needs the right of an operator.
    right = RIGHTS.get((request.method, route.path), _ADMIN)
    if right is not None:
        caller_of(request.scope).check(right, request.path_params.get("name"))
