"""Finds every invalid member of a request, with the reason."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar, get_args, get_origin

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
                found.append((name, _reason(member.kind, given[name])))
        elif member.is_required:
            found.append((name, "is required"))
    return [*found, *((name, "is not a known field") for name in unknown)]


class _Member(NamedTuple):
    name: str
    kind: Any
    is_required: bool
    alone: type[msgspec.Struct]  # a shape of this member alone


@cache
def _members(kind: type[msgspec.Struct]) -> list[_Member]:
    return [
        _Member(
            name=member.name,
            kind=member.type,
            is_required=member.required,
            alone=msgspec.defstruct(member.name, [(member.name, member.type)]),
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
        return f"has a fault: {error}"  # within a member; says where
    if isinstance(value, float) and not math.isfinite(value):
        return "should be a finite number"
    return next(
        f"should {words.format(f'{edge:.15g}')}"
        for name, (is_beyond, words) in _LIMITS.items()
        for edge in (getattr(limit, name) for limit in limits)
        if edge is not None and is_beyond(value, edge)
    )
