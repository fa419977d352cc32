"""Encodes the gateway's JSON."""

import json
from typing import Any

from pydantic_core import PydanticSerializationError, to_json


def encode(body: Any) -> bytes:
    """Encode JSON for the wire; NaN and infinities, which JSON lacks, become null."""
    try:
        return to_json(body, inf_nan_mode="null")
    except PydanticSerializationError:  # a lone surrogate, which JSON can only escape
        finite = json.loads(json.dumps(body), parse_constant=lambda _: None)
        return json.dumps(finite, separators=(",", ":")).encode()
