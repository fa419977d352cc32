"""Checks a search against the limits of a gateway, whether it came over HTTP or from a program."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import NODEFAULT, Meta

from hedgerow.common.errors import BadRequestError
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.shapes.faults import checked
from hedgerow.gateway.shapes.search import Search

_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")  # JSON over HTTP cannot contain one


def search_body(settings: GatewaySettings) -> type[msgspec.Struct]:
    """Make the shape of a request's body: a `Search` without its collection, with the limits."""
    text = Meta(max_length=settings.max_query_chars)
    bounds = {
        "query": text,
        "filter": text,
        "k": Meta(le=settings.max_k),
        "deadline_ms": Meta(le=settings.max_deadline_ms),
    }
    defaults = {
        "k": min(settings.default_k, settings.max_k),
        "deadline_ms": min(settings.default_deadline_ms, settings.max_deadline_ms),
    }
    members: list[Any] = []
    for member in msgspec.structs.fields(Search):
        if member.name == "collection":  # which is in the path
            continue
        kind = member.type
        if member.name in bounds:
            kind = Annotated[kind, bounds[member.name]]
        default: Any = defaults.get(member.name, member.default)
        if member.default_factory is not NODEFAULT:
            default = msgspec.field(default_factory=member.default_factory)
        members.append(
            (member.name, kind) if default is NODEFAULT else (member.name, kind, default)
        )
    return msgspec.defstruct(
        "SearchBody",
        members,
        forbid_unknown_fields=True,
        frozen=True,
        gc=False,
        namespace={"__doc__": "A search."},
    )


def check_asks(body: Any, given: Callable[[], Mapping[str, Any]]) -> None:
    """Check that a request's body says what to search for; an empty query is a query.

    Args:
        body: as it was read.
        given: returns the members that were sent.

    Raises:
        BadRequestError: it has neither a query nor what may stand in for one.
    """
    if body.query or body.vector is not None or body.more_like is not None:
        return
    if "query" not in given():
        raise BadRequestError("query", "is required, unless there is `vector` or `more_like`")


def check_members(query: SearchQuery, body: type[msgspec.Struct]) -> None:
    """Check a search that did not come over HTTP; decoding checks those that do.

    Args:
        query: the search.
        body: the shape of a search's body, as `search_body` makes it, with a gateway's limits.

    Raises:
        BadRequestError: names each invalid member, with the reason.
    """
    try:
        msgspec.convert(query, body, from_attributes=True)
    except msgspec.ValidationError:  # which names the first fault; all are wanted
        checked(body, {name: getattr(query, name) for name in body.__struct_fields__})
        raise
    for name, text in (("query", query.query), ("filter", query.filter)):
        if not text.isascii() and _HALF_PAIR.search(text):
            raise BadRequestError(
                name, "contains half of a surrogate pair, which is not a character"
            )
