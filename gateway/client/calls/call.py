"""A request as a value, and what the requests' modules share: paths, parameters, ways to read."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

import msgspec

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.client.arrays import as_list
from hedgerow.gateway.client.reply import Reply

# How long a gateway may take by its default settings, unless the request says.
MAX_DEADLINE_S: Final = 60.0
WRITE_TIMEOUT_S: Final = 60.0
_LONGEST_WAIT_S: Final = 86_400.0  # a socket cannot wait for any time

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One request.

    Attributes:
        read: makes the answer from the reply, or raises the problem's error.
        takes_s: how long the gateway may take, in s; a client waits longer by its margin.
        body: JSON; None if there is no body, or if the client adds it.
    """

    method: str
    path: str
    read: Callable[[Reply], T_co]
    takes_s: float = 0.0
    params: Mapping[str, str] | None = None
    body: bytes | None = None
    media_type: str = "application/json"


def answer(kind: type[T]) -> Callable[[Reply], T]:
    """Return what reads an answer of this kind."""
    return lambda reply: reply.typed(kind)


def given(members: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is None, for which the gateway has a default."""
    return {name: value for name, value in members.items() if value is not None}


def as_texts(members: Mapping[str, T]) -> Mapping[str, T]:
    """Return the members of a search, of which none may be bytes.

    Raises:
        BadRequestError: one is. JSON would carry it as Base64, which is not what was meant.
    """
    for name, value in members.items():
        if isinstance(value, bytes | bytearray | memoryview):
            raise BadRequestError(name, "is bytes; give a text, such as value.decode()")
    return members


def deadline_parameter(deadline_ms: float | None) -> dict[str, str] | None:
    """Return the parameter of a deadline, if there is one."""
    return None if deadline_ms is None else {"deadline_ms": str(deadline_ms)}


def deadline_in_s(deadline_ms: float | None) -> float:
    """Return how long the gateway may take, in s.

    Raises:
        BadRequestError: the deadline is no number of ms; whether it is allowed, the gateway knows.
    """
    if deadline_ms is None:
        return MAX_DEADLINE_S
    if not math.isfinite(deadline_ms):
        raise BadRequestError("deadline_ms", "must be a finite number")
    return min(max(deadline_ms / 1000, 0.0), _LONGEST_WAIT_S)


def wait_in_s(name: str, wait_s: float) -> float:
    """Return how long to wait for the network, in s: what is given, but no more than a day.

    Raises:
        BadRequestError: it is no time; `name` is the caller's name for it.
    """
    if not wait_s >= 0:  # nan is not
        raise BadRequestError(name, f"must be a time in s, not {wait_s}")
    return min(wait_s, _LONGEST_WAIT_S)


def json_of(body: object) -> bytes:
    """Return a body as JSON.

    Raises:
        BadRequestError: a text in it is not valid Unicode.
    """
    try:
        return msgspec.json.encode(body, enc_hook=as_list)
    except UnicodeEncodeError as error:  # lone surrogates, of file names and of JSON of others
        raise BadRequestError("the body", f"has a text that is not Unicode: {error}") from error


def path_of_collection(name: str) -> str:
    """Return the path of a collection."""
    return f"/v1/collections/{segment(name)}"


def segment(name: str) -> str:
    """Escape a name; one of only dots would otherwise mean a parent folder.

    Raises:
        BadRequestError: it is not valid Unicode.
    """
    try:
        return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")
    except UnicodeEncodeError as error:
        raise BadRequestError("the path", f"has a name that is not Unicode: {error}") from error
