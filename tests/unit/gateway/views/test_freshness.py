"""A view that is kept fresh, whatever reading it again leads to."""

import asyncio

import pytest
import structlog

from hedgerow.common.errors import ConfigurationError, HedgerowError, RedisUnavailableError
from hedgerow.gateway.views.freshness import keep_fresh
from tests.support.virtual_time import run_virtually


@pytest.mark.parametrize(
    ("error", "levels"),
    [
        (RedisUnavailableError("away"), {"debug"}),
        (ConfigurationError("the server refuses the user or password"), {"error"}),
        (HedgerowError("unforeseen"), {"error"}),
        (ValueError("a bug, or what another program stored"), {"error"}),
    ],
)
def test_a_view_that_cannot_be_read_is_read_again(error: Exception, levels: set[str]) -> None:
    """No error ends the watch; what is not an outage is logged as an error, once a minute."""
    looks: list[float] = []

    async def scenario() -> None:
        now = asyncio.get_running_loop().time

        async def refresh() -> None:
            looks.append(now())
            if now() < 100:
                raise error

        running = asyncio.create_task(keep_fresh("view", refresh, asyncio.Event(), 1.0))
        await asyncio.sleep(110.5)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])

    with structlog.testing.capture_logs() as logs:
        run_virtually(scenario())
    assert len(looks) == 111
    assert {line["log_level"] for line in logs} == levels
    if levels == {"error"}:
        assert len(logs) == 2
