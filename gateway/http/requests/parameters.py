"""What is demanded of every request's address, whatever its route."""

from collections.abc import Collection
from urllib.parse import unquote_to_bytes

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.types import Scope

from hedgerow.common.document_ids import unusable_character
from hedgerow.common.errors import BadBodyError, BadRequestError


async def check_request(request: Request) -> None:
    """Check the query parameters of a request by those of its route.

    Raises:
        BadRequestError: as `check_parameters`.
    """
    route = request.scope.get("route")
    parameters = route.dependant.query_params if isinstance(route, APIRoute) else []
    check_parameters(request.scope, [parameter.alias for parameter in parameters])


def check_path(scope: Scope) -> None:
    """Refuse a path that is not UTF-8, or has a character that no name or id has.

    It comes before routing. A byte that is not UTF-8 would be replaced, and the framework's
    patterns match before a newline at the end: another document than the one meant would be read
    or removed.

    Raises:
        BadRequestError: says what is wrong with the path.
    """
    try:
        unquote_to_bytes(scope.get("raw_path") or b"").decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("path", "is not UTF-8") from error
    unusable = unusable_character(scope["path"])
    if unusable is not None:
        raise BadRequestError(
            "path", f"contains the character {unusable}, which is not allowed in names and ids"
        )


def check_parameters(scope: Scope, known: Collection[str]) -> None:
    """Refuse query parameters that are not `known`: one that is misspelt would be ignored.

    Raises:
        BadRequestError: names the parameters.
    """
    if scope["query_string"]:
        reason = f"is not a known parameter; there is {', '.join(known) or 'none'}"
        given = QueryParams(scope["query_string"])
        unknown = dict.fromkeys(name for name in given if name not in known)
        if unknown:
            raise BadBodyError([(name, reason) for name in unknown])
