"""Starting a gateway, when that fails."""

import asyncio
from unittest.mock import AsyncMock, Mock

import pytest

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.transport.redis import RedisTransport


def test_a_start_that_fails_leaves_no_connection_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """If one connection could not be made, both are closed; otherwise they would try for ever."""
    close = AsyncMock()
    monkeypatch.setattr(RedisTransport, "start", AsyncMock(side_effect=RedisUnavailableError("x")))
    monkeypatch.setattr(RedisTransport, "close", close)

    async def scenario() -> None:
        gateway = Gateway(Settings(), Mock(spec=RedisClient, is_split=False, data_clients=()), 1)
        async with gateway._running():
            pytest.fail("it has started")

    with pytest.raises(RedisUnavailableError):
        asyncio.run(scenario())
    close.assert_awaited_once_with()
