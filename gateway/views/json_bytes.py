"""Encodes JSON."""

import json
from typing import Any, Final

import msgspec
from pydantic_core import PydanticSerializationError, from_json, to_json

_encode: Final = msgspec.json.Encoder().encode


def encode(body: Any) -> bytes:
    """Encode JSON for the wire; NaN and infinities, which JSON lacks, become null."""
    try:
        return to_json(body, inf_nan_mode="null")
    except PydanticSerializationError:  # a lone surrogate, which JSON can only escape
        finite = json.loads(json.dumps(body), parse_constant=lambda _: None)
        return json.dumps(finite, separators=(",", ":")).encode()


def encode_shape(shape: msgspec.Struct) -> bytes:
    """Encode a shape, as `encode(to_builtins(shape))` would, in a third of the time."""
    try:
        return _encode(shape)
    except UnicodeEncodeError:  # a lone surrogate
        return encode(to_builtins(shape))


def to_builtins(shape: msgspec.Struct) -> dict[str, Any]:
    """Convert a shape, including JSON in it that is encoded already, to dicts."""
    found: dict[str, Any] = msgspec.to_builtins(shape, enc_hook=lambda raw: from_json(bytes(raw)))
    return found
