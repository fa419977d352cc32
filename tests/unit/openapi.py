"""The OpenAPI document of the HTTP interface, which the client and docs/http.md are held to."""

from typing import Any

from common.config import GatewaySettings
from gateway.http.app import create_framework_app
from tests.unit.fake_gateway import FakeGateway

OPENAPI: dict[str, Any] = create_framework_app(FakeGateway(), GatewaySettings()).openapi()
