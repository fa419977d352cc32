"""Checks the path and query parameters of every request."""

from collections.abc import Collection
from urllib.parse import unquote_to_bytes

from starlette.datastructures import QueryParams
from starlette.types import Scope

from hedgerow.common.document_ids import unusable_character
from hedgerow.common.errors import BadBodyError, BadRequestError


def check_path(scope: Scope) -> None:
    """Refuse a path that is not UTF-8, or has a character that names and ids cannot have.

    Call it before routing: the framework would replace a byte that is not UTF-8, and ignore a
    newline at the end, so a request could read or delete another document than intended.

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
    """Refuse query parameters that are not `known`, since a misspelt one would be ignored.

    Raises:
        BadRequestError: names the parameters.
    """
    if scope["query_string"]:
        reason = f"is not a known parameter; known: {', '.join(known) or 'none'}"
        given = QueryParams(scope["query_string"])
        unknown = dict.fromkeys(name for name in given if name not in known)
        if unknown:
            raise BadBodyError([(name, reason) for name in unknown])
