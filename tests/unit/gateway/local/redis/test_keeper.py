"""How often the embedded server and its disk are checked."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.machine import disk_reader
from hedgerow.common.machine.disk import MB, DiskReading
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.storage import StorageSettings
from hedgerow.gateway.local.redis.keeper import AMPLE_LOOK_S, LOOK_S, LOW_LOOK_S, RedisKeeper


class Server:
    """The embedded server and its disk, in the state that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.free_mb = 500_000
        self.rights = b"+@all"
        self.info: dict[str, Any] = {"aof_enabled": 1, "aof_last_write_status": "ok"}
        self.is_up = True
        monkeypatch.setattr(disk_reader, "read_disk", self._read)
        keys = Keys.of(RedisSettings())
        self._keeper = RedisKeeper(cast("RedisClient", self), keys, folder, StorageSettings())

    def pause_s(self) -> float:
        """The pause after one more check."""
        try:
            asyncio.run(self._keeper.look())
        except RedisUnavailableError:
            assert not self.is_up
        return self._keeper.pause_s

    async def pipeline(self, _commands: Sequence[Any]) -> list[Any]:
        """The user and the file."""
        if not self.is_up:
            raise RedisUnavailableError("down")
        return [[b"commands", self.rights], self.info]

    async def execute(self, *_command: Any, **_options: Any) -> None:
        """Do as the keeper says; the test sets what follows from it."""

    def _read(self, _folder: Path) -> DiskReading:
        return DiskReading(1_000_000 * MB, self.free_mb * MB)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """One that has enough room."""
    return Server(monkeypatch, tmp_path)


def test_a_server_with_ample_room_is_checked_once_a_second(server: Server) -> None:
    """No program fills that disk before the next check."""
    assert server.pause_s() == AMPLE_LOOK_S == 1.0


def test_a_disk_that_may_fill_up_is_checked_four_times_a_second(server: Server) -> None:
    """The queues stop until it is noticed that the server cannot write."""
    server.free_mb = 5_000
    assert server.pause_s() == LOOK_S == 0.25


def test_a_disk_that_is_almost_full_is_checked_twenty_times_a_second(server: Server) -> None:
    """Until the server goes on without its file: then nothing can stop the queues."""
    server.free_mb = 200
    assert server.pause_s() == LOW_LOOK_S == 0.05
    server.free_mb = 50
    assert server.pause_s() == LOOK_S
    server.info, server.rights = {"aof_enabled": 0}, b"+@all -xadd"
    assert server.pause_s() == LOOK_S


def test_a_server_is_checked_often_until_it_writes_its_file_and_takes_appends(
    server: Server,
) -> None:
    """While it does not answer, cannot write, or goes on without the file."""
    server.is_up = False
    assert server.pause_s() == LOOK_S
    server.is_up, server.info["aof_last_write_status"] = True, "err"
    assert server.pause_s() == LOOK_S
    server.info, server.rights = {"aof_enabled": 0}, b"+@all -xadd"
    assert server.pause_s() == LOOK_S
    server.info = {"aof_enabled": 1, "aof_rewrite_in_progress": 1}
    assert server.pause_s() == LOOK_S
