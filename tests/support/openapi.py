"""The OpenAPI document of the HTTP interface, which the client and docs/http*.md are held to.

`python -m tests.support.openapi` prints it.
"""

import asyncio
import json
import sys
from typing import Any

import httpx

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.app import create_routed_app
from tests.support.fake_gateway import FakeGateway


async def _fetch() -> dict[str, Any]:
    """Get the document as a client gets it."""
    transport = httpx.ASGITransport(create_routed_app(FakeGateway(), GatewaySettings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        found: dict[str, Any] = (await client.get("/openapi.json")).json()
    return found


OPENAPI: dict[str, Any] = asyncio.run(_fetch())

if __name__ == "__main__":
    json.dump(OPENAPI, sys.stdout, indent=1)
