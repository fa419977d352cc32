"""Defines which right each route needs."""

from collections.abc import Mapping
from typing import Final

from starlette.types import Scope

from hedgerow.gateway.access.caller import Right
from hedgerow.gateway.http.requests.guard import OPEN_PATHS, caller_of, real_name_in
from hedgerow.gateway.http.requests.page_paths import ROUTES as PAGE_ROUTES

_OPEN_ROUTES: Final = OPEN_PATHS | PAGE_ROUTES
_SEARCH, _WRITE, _ADMIN, _METRICS = Right.SEARCH, Right.WRITE, Right.ADMIN, Right.METRICS

# Method and path of a route → the right that it needs: for the collection `{name}` if the path has
# one, else for the whole cluster. None: any caller, who sees only what they have rights for.
RIGHTS: Final[Mapping[tuple[str, str], Right | None]] = {
    ("POST", "/v1/collections/{name}/search"): _SEARCH,
    ("POST", "/v1/search:batch"): None,  # each of its searches is checked
    ("GET", "/v1/collections"): None,
    ("PUT", "/v1/collections/{name}"): _WRITE,
    ("GET", "/v1/collections/{name}"): _SEARCH,
    ("PATCH", "/v1/collections/{name}"): _WRITE,
    ("DELETE", "/v1/collections/{name}"): _WRITE,
    ("POST", "/v1/collections/{name}/optimise"): _ADMIN,
    ("GET", "/v1/collections/{name}/coverage-curve"): _SEARCH,
    ("PUT", "/v1/collections/{name}/expiry"): _WRITE,
    ("GET", "/v1/collections/{name}/expiry"): _SEARCH,
    ("DELETE", "/v1/collections/{name}/expiry"): _WRITE,
    ("PUT", "/v1/collections/{name}/synonyms"): _WRITE,
    ("GET", "/v1/collections/{name}/synonyms"): _SEARCH,
    ("DELETE", "/v1/collections/{name}/synonyms"): _WRITE,
    ("GET", "/v1/collections/{name}/suggest"): _SEARCH,
    ("POST", "/v1/collections/{name}/documents"): _WRITE,
    ("POST", "/v1/collections/{name}/documents:delete"): _WRITE,
    ("GET", "/v1/collections/{name}/documents/{document_id:path}"): _SEARCH,
    ("PUT", "/v1/collections/{name}/documents/{document_id:path}"): _WRITE,
    ("PATCH", "/v1/collections/{name}/documents/{document_id:path}"): _WRITE,
    ("DELETE", "/v1/collections/{name}/documents/{document_id:path}"): _WRITE,
    ("GET", "/v1/aliases"): None,
    ("POST", "/v1/aliases"): _WRITE,
    ("GET", "/v1/aliases/{alias}"): None,  # the route asks for the collection that it stands for
    ("PUT", "/v1/aliases/{alias}"): _WRITE,
    ("DELETE", "/v1/aliases/{alias}"): _WRITE,
    ("GET", "/v1/reindex"): _WRITE,
    ("POST", "/v1/reindex"): _WRITE,
    ("DELETE", "/v1/reindex"): _WRITE,
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
# The routes that make or remove the collection of that very name, which is never an alias.
_BY_OWN_NAME: Final = frozenset(
    {("PUT", "/v1/collections/{name}"), ("DELETE", "/v1/collections/{name}")}
)


def check_rights(
    scope: Scope, method: str, path: str, in_path: Mapping[str, str]
) -> Mapping[str, str]:
    """Check that the caller has the right that a route needs.

    A caller that is restricted to some collections uses a collection by its own name from here on,
    since an alias may stand for another one before the request is carried out.

    Args:
        scope: of the request.
        method: the route's.
        path: likewise.
        in_path: the parameters in the path of the request.

    Returns:
        The parameters, with the collection's own name.

    Raises:
        ForbiddenError: names the missing right or collection.
    """
    # A route that is missing in the table needs the right of an operator.
    right = None if path in _OPEN_ROUTES else RIGHTS.get((method, path), _ADMIN)
    if right is None:
        return in_path
    caller, name = caller_of(scope), in_path.get("name")
    if name is None or caller.collections is None or (method, path) in _BY_OWN_NAME:
        caller.check(right, name)
        return in_path
    real_name = real_name_in(scope, name)
    caller.check(right, name, real_name)
    return {**in_path, "name": real_name}
