"""Reads the JSON bodies of requests."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from pydantic_core import from_json

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.shapes.faults import checked

T = TypeVar("T", bound=msgspec.Struct)

_NOT_AS_SHAPED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def body_reader(kind: type[T]) -> Callable[[bytes], T]:
    """Make a function that reads a body as a `kind`; its BadRequestError names each fault."""
    decode = msgspec.json.Decoder(kind).decode

    def read(raw: bytes) -> T:
        try:
            return decode(raw)
        except _NOT_AS_SHAPED:  # msgspec names only the first fault
            return checked(kind, read_object(raw, allow_inf_nan=True))

    return read


def read_object(raw: bytes, *, allow_inf_nan: bool = False) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        raw: the body.
        allow_inf_nan: whether to accept NaN and infinities, which JSON does not have, so that an
            error can name the member that has such a value.

    Raises:
        BadRequestError: the body is not JSON, or not an object.
    """
    try:
        found = from_json(raw, allow_inf_nan=allow_inf_nan)
    except ValueError as error:
        raise BadRequestError("body", f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadRequestError("body", "should be a JSON object")
    return found
