"""What the tests of the HTTP interface share."""

import httpx
import pytest

from tests.support.fake_gateway import FakeGateway
from tests.unit.support.http_client import connect


@pytest.fixture
def gateway() -> FakeGateway:
    """Stand in for a cluster."""
    return FakeGateway()


@pytest.fixture
def client(gateway: FakeGateway) -> httpx.AsyncClient:
    """Speak to the application with default settings."""
    return connect(gateway)
