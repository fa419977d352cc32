"""What is demanded of every request's address, whatever its route."""

from urllib.parse import unquote_to_bytes

from fastapi import Request
from fastapi.routing import APIRoute

from common.errors import BadBodyError, BadRequestError


async def check_address(request: Request) -> None:
    """Refuse query parameters that the route does not know, and paths that are not UTF-8.

    A parameter that is misspelt would else be ignored, and a byte that is no UTF-8 be replaced, so
    that another document than the one meant is read or removed.

    Raises:
        BadRequestError: names the parameters, or the path.
    """
    try:
        unquote_to_bytes(request.scope.get("raw_path") or b"").decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("path", "is not UTF-8") from error
    if request.scope["query_string"]:
        route = request.scope.get("route")
        known = (
            [parameter.alias for parameter in route.dependant.query_params]
            if isinstance(route, APIRoute)
            else []
        )
        reason = f"is not a known parameter; there is {', '.join(known) or 'none'}"
        unknown = dict.fromkeys(name for name in request.query_params if name not in known)
        if unknown:
            raise BadBodyError([(name, reason) for name in unknown])
