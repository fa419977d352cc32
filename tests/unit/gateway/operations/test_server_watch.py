"""What a gateway notices of the Redis server, how often, and from which share of its memory on."""

import asyncio
from typing import Any, cast

import pytest

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.storage import StorageSettings
from hedgerow.gateway.operations.server_watch import ServerWatch
from hedgerow.gateway.writes.storage_gate import StorageGate
from tests.support.virtual_time import run_virtually


class Server:
    """A Redis server whose memory is as full as the test says."""

    def __init__(self) -> None:
        self.used = 0
        self.asked_at: list[float] = []

    @property
    def data_clients(self) -> tuple[Any, ...]:
        """It is the only server."""
        return ()

    async def pipeline(self, _commands: Any) -> tuple[dict[str, Any], None]:
        """INFO, and the report of a keeper, which there is none of."""
        self.asked_at.append(asyncio.get_running_loop().time())
        return {"used_memory": self.used, "maxmemory": 100}, None


def watched(server: Server, settings: StorageSettings) -> tuple[ServerWatch, StorageGate]:
    """A watch of the server, and the gate that it informs."""
    gate = StorageGate(tuple, now=lambda: 0.0, now_ms=lambda: 0)
    client = cast("RedisClient", server)
    return ServerWatch(client, Keys("p"), settings, gate, lambda: 0), gate


@pytest.mark.parametrize(("share", "is_short"), [(0.8, False), (0.61, False), (0.6, True)])
async def test_documents_are_refused_from_the_share_that_is_set(
    share: float, is_short: bool
) -> None:
    """`storage.max_memory_share` of its maxmemory."""
    server = Server()
    server.used = 60
    watch, gate = watched(server, StorageSettings(max_memory_share=share))
    await watch.refresh()
    assert [one["where"] for one in gate.list()] == ["redis"] * is_short
    assert ("maxmemory" in gate.server_shortage()) == is_short


@pytest.mark.parametrize("poll_s", [0.5, 4.0])
def test_the_server_is_asked_as_often_as_is_set(poll_s: float) -> None:
    """Each `storage.poll_s`."""
    server = Server()

    async def look() -> None:
        watch, _ = watched(server, StorageSettings(poll_s=poll_s))
        running = asyncio.create_task(watch.run())
        await asyncio.sleep(20.0)
        running.cancel()
        await asyncio.wait([running])

    run_virtually(look())
    assert len(server.asked_at) == pytest.approx(20.0 / poll_s, abs=1)
