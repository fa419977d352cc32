"""JSON, checked against the shape that it should have."""

from typing import Any

import msgspec

from hedgerow.gateway.views.json_bytes import encode


def check_shape(body: Any, shape: type[msgspec.Struct]) -> None:
    """Check that JSON has exactly the members of a shape."""
    found = msgspec.json.decode(encode(body))
    assert msgspec.to_builtins(msgspec.convert(found, shape)) == found
