"""What schemathesis must know about our media types; it loads this by its name."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(_context: Any, value: Any) -> bytes:
    """Lines of JSON from what was generated: a text unchanged, a list line by line."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    values = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(part).encode() + b"\n" for part in values)
