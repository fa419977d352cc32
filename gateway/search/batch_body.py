"""The shapes of a batch of searches, with the limits of a gateway."""

from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import NODEFAULT, Meta

from hedgerow.common.settings.gateway import GatewaySettings


class BatchShapes(NamedTuple):
    """The shapes of a batch.

    Attributes:
        body: the body of a batch, as it is described.
        read: the same, with searches of any kind: each is checked by itself.
        search: a search of a batch; it has the members of a `Search`, in the same order.
    """

    body: type[msgspec.Struct]
    read: type[msgspec.Struct]
    search: type[msgspec.Struct]


def batch_shapes(settings: GatewaySettings, search_body: type[msgspec.Struct]) -> BatchShapes:
    """Make the shapes of a batch from the body of a single search."""
    to_deadline = Meta(gt=0, le=settings.max_deadline_ms)
    about_own = "Time for this search alone, in ms; what is left of the batch's time if null."
    about_deadline = "Time within which the whole answer leaves the gateway, in ms."
    about_searches = "The searches: each a `collection`, or an alias, and the members of a search."
    members: list[Any] = [("collection", str)]
    for member in msgspec.structs.fields(search_body):
        kind, default = member.type, member.default
        if member.name == "deadline_ms":
            kind = Annotated[Annotated[float, to_deadline] | None, Meta(description=about_own)]
            default = None
        elif member.default_factory is not NODEFAULT:
            default = msgspec.field(default_factory=member.default_factory)
        is_required = default is NODEFAULT
        members.append((member.name, kind) if is_required else (member.name, kind, default))
    search = _strict("BatchSearch", "A search of a batch.", members)
    deadline_ms = (
        "deadline_ms",
        Annotated[float, to_deadline, Meta(description=about_deadline)],
        min(settings.default_deadline_ms, settings.max_deadline_ms),
    )
    most = Meta(
        description=about_searches, extra_json_schema={"maxItems": settings.max_batch_searches}
    )
    described: Any = Annotated[list[search], most]  # type: ignore[valid-type] # made above
    return BatchShapes(
        _strict("BatchBody", "A batch of searches.", [("searches", described), deadline_ms]),
        _strict("BatchBody", "A batch of searches.", [("searches", list[Any]), deadline_ms]),
        search,
    )


def _strict(name: str, about: str, members: list[Any]) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        name,
        members,
        forbid_unknown_fields=True,
        frozen=True,
        gc=False,
        namespace={"__doc__": about},
    )
