"""The OpenAPI document of the HTTP interface, which the client and docs/http.md are held to."""

from typing import Any

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.app import create_framework_app
from tests.support.fake_gateway import FakeGateway

OPENAPI: dict[str, Any] = create_framework_app(FakeGateway(), GatewaySettings()).openapi()
