"""Finds every invalid member of a request, with the reason."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from hedgerow.common.errors import BadBodyError

T = TypeVar("T", bound=msgspec.Struct)

_WRONG_TYPE: Final[Mapping[Any, str]] = {
    str: "should be a valid string",
    str | None: "should be a valid string",
    int: "should be a valid integer",
    float: "should be a valid number",
    list[Any]: "should be a list",
    bool: "should be a valid boolean",
    bool | tuple[str, ...]: "should be true, false or a list of names",
}
# Limit → whether a value exceeds it, and what it should be instead.
_LIMITS: Final[Mapping[str, tuple[Callable[[Any, Any], bool], str]]] = {
    "ge": (lambda value, limit: value < limit, "be greater than or equal to {}"),
    "gt": (lambda value, limit: value <= limit, "be greater than {}"),
    "le": (lambda value, limit: value > limit, "be less than or equal to {}"),
    "max_length": (lambda value, limit: len(value) > limit, "have at most {} characters"),
}
_JSON_TYPES: Final[Mapping[str, str]] = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "an object",
    "str": "a string",
}
_MOST_WITHIN: Final = 8  # faults that are named of one member


def checked(kind: type[T], given: Mapping[str, Any]) -> T:
    """Make a request from its members.

    Args:
        kind: its shape.
        given: name of a member → its value.

    Raises:
        BadBodyError: names every invalid member, with the reason.
    """
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise BadBodyError(_faults(kind, given)) from error


def _faults(kind: type[msgspec.Struct], given: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    unknown = dict.fromkeys(given)
    for member in _members(kind):
        name = member.name
        if name in given:
            del unknown[name]
            try:
                msgspec.convert({name: given[name]}, member.alone)
            except msgspec.ValidationError:
                found += _within(name, member.kind, given[name])
        elif member.is_required:
            found.append((name, "is required"))
    return [*found, *((name, "is not a known field") for name in unknown)]


def _within(where: str, kind: Any, value: Any) -> list[tuple[str, str]]:
    """Name the parts of an invalid member that are invalid: `facets.price.size`, `sort[0]`."""
    found: list[tuple[str, str]] = []
    for one in () if _bare(kind) in _WRONG_TYPE else _alternatives(kind):
        origin, of = get_origin(one) or one, get_args(one)
        if isinstance(value, Mapping) and origin is dict:
            found += _of_parts(((f"{where}.{name}", part) for name, part in value.items()), of[1])
        elif isinstance(value, list) and origin in (list, tuple):
            found += _of_parts(((f"{where}[{n}]", part) for n, part in enumerate(value)), of[0])
        elif isinstance(value, Mapping) and _is_shape(origin):
            found += ((f"{where}.{name}", why) for name, why in _faults(origin, value))
    return found[:_MOST_WITHIN] or [(where, _reason(kind, value))]


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of which a member may be any."""
    bare = _bare(kind)
    return get_args(bare) if get_origin(bare) in (Union, UnionType) else (bare,)


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _is_shape(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _of_parts(parts: Iterable[tuple[str, Any]], kind: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for where, part in parts:
        try:
            msgspec.convert(part, kind)
        except msgspec.ValidationError:
            found += _within(where, kind, part)
            if len(found) >= _MOST_WITHIN:
                break
    return found


class _Member(NamedTuple):
    name: str
    kind: Any
    is_required: bool
    alone: type[msgspec.Struct]  # a shape of this member alone


@cache
def _members(kind: type[msgspec.Struct]) -> list[_Member]:
    return [
        _Member(
            name=member.encode_name,
            kind=member.type,
            is_required=member.required,
            alone=msgspec.defstruct(
                "Alone", [("value", member.type)], rename={"value": member.encode_name}
            ),
        )
        for member in msgspec.structs.fields(kind)
    ]


def _reason(kind: Any, value: Any) -> str:
    """Say why a value is not valid for a type."""
    limits: list[Meta] = []
    if get_origin(kind) is Annotated:
        kind, *limits = get_args(kind)
    if get_origin(kind) is Literal:
        *others, last = map(repr, get_args(kind))
        return f"should be {', '.join(others)} or {last}"
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        if kind in _WRONG_TYPE:
            return _WRONG_TYPE[kind]
        for one in _alternatives(kind):
            if one != kind and _is_meant(one, value):
                return _reason(one, value)
        return _in_words(str(error))
    if isinstance(value, float) and not math.isfinite(value):
        return "should be a finite number"
    return next(
        (
            f"should {words.format(f'{edge:.15g}')}"
            for name, (is_beyond, words) in _LIMITS.items()
            for edge in (getattr(limit, name) for limit in limits)
            if edge is not None and is_beyond(value, edge)
        ),
        "is not valid",
    )


def _is_meant(kind: Any, value: Any) -> bool:
    """Whether a value is of the type of an alternative, though beyond its limits."""
    if isinstance(value, str):
        return get_origin(kind) is Literal
    bare = _bare(kind)
    return bare in (int, float) and type(value) in (int, bare)


def _in_words(error: str) -> str:
    """What was expected, in words of JSON."""
    types = re.fullmatch(r"Expected `([^`]+)`, got `([^`]+)`", error)
    if types is None:
        return f"has a fault: {error}"
    wanted, given = types.groups()
    names = wanted.split(" | ")
    *others, last = [
        _JSON_TYPES.get(one, one) for one in names if one != "int" or "float" not in names
    ]
    return (
        f"should be {', '.join(others)}{' or ' if others else ''}{last}, "
        f"not {_JSON_TYPES.get(given, given)}"
    )
