"""The condition of a write: by the parameter `if_version`, or by the headers of HTTP for it."""

from typing import Final

from starlette.requests import Request

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.writes.condition import NONE, is_version

_IF_MATCH: Final = "If-Match"
_IF_NONE_MATCH: Final = "If-None-Match"


def condition_of(request: Request, if_version: str | None) -> str | None:
    """Return the version that a write demands, "none" for no document, or None for no condition.

    A caller who sends back the `ETag` of a read relies on it, so a header that cannot be obeyed is
    refused, never ignored.

    Args:
        request: the request of the write.
        if_version: its parameter of that name.

    Raises:
        BadRequestError: a header names no version, or there is more than one condition.
    """
    headers = request.headers
    conditions = [] if if_version is None else [if_version]
    conditions += [_matched(value) for value in headers.getlist(_IF_MATCH)]
    conditions += [_unmatched(value) for value in headers.getlist(_IF_NONE_MATCH)]
    if len(set(conditions)) > 1:
        raise BadRequestError("if_version", "contradicts the condition in the request's headers")
    return conditions[0] if conditions else None


def _matched(value: str) -> str:
    # A proxy that compresses an answer makes its tag a weak one; the version is the same.
    tag = value.strip().removeprefix("W/")
    version = tag.removeprefix('"').removesuffix('"')
    if tag != f'"{version}"' or not is_version(version):
        raise BadRequestError(
            _IF_MATCH, "should be one version in quotes, as a read returns it in ETag"
        )
    return version


def _unmatched(value: str) -> str:
    if value.strip() != "*":
        raise BadRequestError(_IF_NONE_MATCH, "should be *, for a document that does not exist yet")
    return NONE
