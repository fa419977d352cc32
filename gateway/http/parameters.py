"""What is demanded of every request's address, whatever its route."""

from collections.abc import Collection
from urllib.parse import unquote_to_bytes

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.types import Scope

from common.errors import BadBodyError, BadRequestError


async def check_request(request: Request) -> None:
    """Check the address of a request by the query parameters of its route.

    Raises:
        BadRequestError: as `check_address`.
    """
    route = request.scope.get("route")
    parameters = route.dependant.query_params if isinstance(route, APIRoute) else []
    check_address(request.scope, [parameter.alias for parameter in parameters])


def check_address(scope: Scope, known: Collection[str]) -> None:
    """Refuse query parameters that are not `known`, and paths that are not UTF-8.

    A parameter that is misspelt would else be ignored, and a byte that is no UTF-8 be replaced, so
    that another document than the one meant is read or removed.

    Raises:
        BadRequestError: names the parameters, or the path.
    """
    try:
        unquote_to_bytes(scope.get("raw_path") or b"").decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("path", "is not UTF-8") from error
    if scope["query_string"]:
        reason = f"is not a known parameter; there is {', '.join(known) or 'none'}"
        given = QueryParams(scope["query_string"])
        unknown = dict.fromkeys(name for name in given if name not in known)
        if unknown:
            raise BadBodyError([(name, reason) for name in unknown])
