"""Starting a gateway, when that fails."""

import asyncio
from unittest.mock import AsyncMock, Mock

import pytest

from common.config import Settings
from common.control import Control
from common.errors import RedisUnavailableError
from gateway.redis_transport import RedisTransport
from gateway.service import Gateway


def test_a_start_that_fails_leaves_no_link_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one link could not connect, both are closed; else they would try for ever."""
    close = AsyncMock()
    monkeypatch.setattr(RedisTransport, "start", AsyncMock(side_effect=RedisUnavailableError("x")))
    monkeypatch.setattr(RedisTransport, "close", close)

    async def scenario() -> None:
        gateway = Gateway(Settings(), Mock(spec=Control), 1)
        async with gateway._running():
            pytest.fail("it has started")

    with pytest.raises(RedisUnavailableError):
        asyncio.run(scenario())
    close.assert_awaited_once_with()
