"""The embedded server of a cluster whose Ray nodes are all on this machine."""

from pathlib import Path

import pytest

from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.storage import StorageSettings
from hedgerow.gateway.local.processes.supervisor import Event
from hedgerow.gateway.ray.own_redis import OwnRedis
from tests.support.processes import processes_mentioning

pytestmark = pytest.mark.integration


async def test_it_keeps_what_is_stored_and_leaves_no_process(tmp_path: Path) -> None:
    """What was written before it was stopped is there when it is started again."""
    for expected, value in ((None, b"1"), (b"1", b"2")):
        events: list[Event] = []
        server = OwnRedis(tmp_path / "data", StorageSettings(), events.append)
        try:
            await server.start()
            control = await connect(RedisSettings(url=server.url))
            server.keep(control, Keys())
            assert await control.execute("GET", "key") == expected
            await control.execute("SET", "key", value)
            await server.rest()
            await control.close()
        finally:
            await server.stop()
        assert [type(event).__name__ for event in events] == ["Started", "Stopped"]
        assert processes_mentioning(str(tmp_path)) == {}
