"""The OpenAPI document of the HTTP interface, which the client and docs/http.md are held to.

`python -m tests.support.openapi` prints it.
"""

import json
import sys
from typing import Any

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.app import create_framework_app
from tests.support.fake_gateway import FakeGateway

OPENAPI: dict[str, Any] = create_framework_app(FakeGateway(), GatewaySettings()).openapi()

if __name__ == "__main__":
    json.dump(OPENAPI, sys.stdout, indent=1)
