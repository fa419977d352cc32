"""Makes `/openapi.json` of the routes and the shapes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import EnumType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec

from hedgerow.common import __version__
from hedgerow.gateway.http.problems import MEDIA_TYPE
from hedgerow.gateway.http.requests.guard import OPEN_PATHS
from hedgerow.gateway.http.routing.router import Route
from hedgerow.gateway.shapes.alias import AliasAnswer, AliasBody, AliasChanges, AliasesAnswer
from hedgerow.gateway.shapes.answer import SearchAnswer
from hedgerow.gateway.shapes.batch import BatchAnswer
from hedgerow.gateway.shapes.collection import (
    CollectionAnswer,
    CollectionBody,
    CollectionPatch,
    CollectionsAnswer,
    CurveAnswer,
    LoadAnswer,
    OptimiseAnswer,
)
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryAnswer, DeleteByQueryBody
from hedgerow.gateway.shapes.expiry import ExpiryAnswer, ExpiryBody
from hedgerow.gateway.shapes.live import LiveHistory
from hedgerow.gateway.shapes.operations import (
    BreakerBody,
    QuarantineAnswer,
    ReloadAnswer,
    SnapshotAnswer,
)
from hedgerow.gateway.shapes.placement import PlacementAnswer, RebalanceAnswer
from hedgerow.gateway.shapes.problem import Problem
from hedgerow.gateway.shapes.reindex import ReindexAnswer, ReindexBody
from hedgerow.gateway.shapes.split import SplitAnswer
from hedgerow.gateway.shapes.status import StatusAnswer
from hedgerow.gateway.shapes.suggest import SuggestAnswer
from hedgerow.gateway.shapes.synonyms import SynonymsAnswer, SynonymsBody

_DESCRIPTION: Final = "Answers from sharded Python workers, by the deadline, with honest coverage."
_REF: Final = "#/components/schemas/"
# Statuses that the guard may answer on every route but health checks.
BY_GUARD: Final = (401, 403, 429)
_REASONS: Final = {
    400: "The request cannot be used; names the field and the reason",
    401: "The bearer token or key is missing or wrong",
    403: "The key lacks a right or a collection, or the Host or Origin is not allowed",
    404: "No such collection, document, shard or worker",
    409: "The collection exists with another definition or field, or there are too many; or an "
    "alias has the name or stands for the collection; or a reload is refused; or the worker's "
    "shards are pinned; or a split or a reindex cannot begin or end now",
    412: "The document does not have the version that if_version demands",
    413: "The request exceeds a limit",
    429: "Too many queries or requests are in progress, or the key sends too much; Retry-After "
    "says when to try again",
    503: "The cluster cannot answer now; Retry-After says when to try again",
    504: "Coverage is below minimum_coverage; carries the hits that were found",
    507: "A disk or memory runs out; shortages says which, Retry-After when to try again",
}
_SHAPES: Final[tuple[type[msgspec.Struct], ...]] = (
    SearchAnswer,
    BatchAnswer,
    SuggestAnswer,
    Problem,
    LoadAnswer,
    CollectionAnswer,
    CollectionsAnswer,
    CurveAnswer,
    CollectionBody,
    CollectionPatch,
    DeleteByQueryBody,
    DeleteByQueryAnswer,
    ExpiryBody,
    ExpiryAnswer,
    SynonymsBody,
    SynonymsAnswer,
    AliasAnswer,
    AliasesAnswer,
    AliasBody,
    AliasChanges,
    BreakerBody,
    SnapshotAnswer,
    ReloadAnswer,
    OptimiseAnswer,
    QuarantineAnswer,
    PlacementAnswer,
    RebalanceAnswer,
    SplitAnswer,
    ReindexBody,
    ReindexAnswer,
    StatusAnswer,
    LiveHistory,
)


def answers(status: int, shape: type[Any] | None, *problems: int) -> dict[int | str, Any]:
    """Describe a route's answer and its possible problems."""
    content = {"application/json": {"schema": {"$ref": _REF + shape.__name__}}} if shape else {}
    return {status: {"description": "Done", "content": content}, **_problems(problems)}


def _problems(statuses: Iterable[int | str]) -> dict[int | str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF + "Problem"}}}
    return {
        status: {"description": _REASONS[int(status)], "content": content} for status in statuses
    }


def json_body(shape: type[Any], *, is_required: bool = True) -> dict[str, Any]:
    """Describe a body that the route itself reads and checks."""
    content = {"application/json": {"schema": {"$ref": _REF + shape.__name__}}}
    return {"requestBody": {"required": is_required, "content": content}}


def describe_interface(
    routes: Iterable[Route], search_bodies: Sequence[type[Any]]
) -> dict[str, Any]:
    """Describe routes as an OpenAPI document.

    Args:
        routes: those of the application.
        search_bodies: the bodies of searches, which the settings shape.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if route.is_described:
            paths.setdefault(route.shown_path, {})[route.method.lower()] = _operation(route)
    bearer = {"type": "http", "scheme": "bearer", "description": "The token or a key."}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Hedgerow", "description": _DESCRIPTION, "version": __version__},
        "paths": paths,
        "components": {
            "schemas": describe_shapes((*_SHAPES, *search_bodies)),
            "securitySchemes": {"bearer": bearer},
        },
    }
    _open_objects(document)
    return document


def _operation(route: Route) -> dict[str, Any]:
    responses = {str(status): answer for status, answer in route.responses.items()}
    # What generated clients call it.
    found: dict[str, Any] = {"summary": route.summary, "operationId": route.handler.__name__}
    parameters = [one.describe() for one in route.parameters.all]
    if parameters:
        found["parameters"] = parameters
    if route.path in OPEN_PATHS:
        return {**found, **route.body, "responses": responses}
    refusals = _problems(str(status) for status in BY_GUARD)
    security: list[dict[str, Any]] = [{"bearer": []}, {}]
    return {**found, **route.body, "responses": {**refusals, **responses}, "security": security}


def describe_shapes(shapes: Sequence[type[Any]]) -> dict[str, Any]:
    """Describe shapes, and the shapes within them, by name.

    For answers, msgspec describes what a client accepts, from gateways of any version. This
    gateway promises more: it sends exactly the members that it describes.
    """
    _, found = msgspec.json.schema_components(shapes, ref_template=_REF + "{name}")
    parts = list(_types_in(shapes))
    for shape in filter(_is_struct, parts):
        part, config = found[shape.__name__], shape.__struct_config__
        if config.forbid_unknown_fields or shape is Problem:  # RFC 9457 allows further members
            continue
        part["additionalProperties"] = False
        if not config.omit_defaults:
            absent = {one.encode_name for one in msgspec.structs.fields(shape) if _is_optional(one)}
            part["required"] = [name for name in part["properties"] if name not in absent]
            for member in part["properties"].values():
                member.pop("default", None)
    choices = [get_args(choice) for choice in parts if get_origin(choice) is Literal]
    choices += [tuple(choice) for choice in parts if isinstance(choice, EnumType)]
    choices += [(one.__struct_config__.tag,) for one in filter(_is_struct, parts)]
    _describe_choices(found, {frozenset(choice): choice for choice in choices})
    return found


def _types_in(kinds: Iterable[Any]) -> Iterator[Any]:
    """Yield the types, and every type within them."""
    for kind in kinds:
        yield kind
        if _is_struct(kind):
            yield from _types_in(member.type for member in msgspec.structs.fields(kind))
        elif get_origin(kind) is not Literal:
            yield from _types_in(get_args(kind))


def _is_optional(member: msgspec.structs.FieldInfo) -> bool:
    """Whether a member is absent while it does not apply."""
    kind = member.type
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return msgspec.UnsetType in get_args(kind)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _describe_choices(part: Any, orders: Mapping[frozenset[str], Sequence[str]]) -> None:
    """List values in the order of their definition, and say of which type they are."""
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for value in inner:
        _describe_choices(value, orders)
    if isinstance(part, dict) and isinstance(part.get("enum"), list):
        choices = part["enum"] = list(orders[frozenset(part["enum"])])
        part["type"] = "boolean" if choices == [True] else "string"


def _open_objects(part: Any) -> None:
    """Say of objects of any members that they have some: generators take them for empty ones."""
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for value in inner:
        _open_objects(value)
    is_object = isinstance(part, dict) and part.get("type") == "object"
    if is_object and not {"properties", "additionalProperties"} & part.keys():
        part["additionalProperties"] = True
