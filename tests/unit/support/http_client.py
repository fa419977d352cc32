"""A client of the HTTP application in this process."""

from typing import Any

import httpx

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.app import create_app
from tests.support.fake_gateway import FakeGateway

FILMS = "/v1/collections/films"


def connect(gateway: FakeGateway, **settings: Any) -> httpx.AsyncClient:
    """Speak to the application in this process."""
    transport = httpx.ASGITransport(create_app(gateway, GatewaySettings(**settings)))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")
