"""`gateway up` on a folder that an earlier one has left."""

import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.trees import answer, loaded
from tests.support.up import Caller, Up, running_up

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass(frozen=True)
class Drained:
    """What a cluster of 4 shards and 2 workers has left, and what it had answered."""

    data: Path
    answer: set[str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def drained(tmp_path_factory: pytest.TempPathFactory) -> Drained:
    """A cluster with documents that has been stopped; its folder is there to be copied."""
    data = tmp_path_factory.mktemp("cluster") / "data"
    async with running_up(data, "--shards", "4", "--workers", "2") as up:
        async with Caller(up.url) as caller:
            found = await loaded(caller)
        assert await up.stop() == 0
    return Drained(data, found)


@pytest.fixture
def data(drained: Drained, tmp_path: Path) -> Path:
    """A copy of that folder for the test's own."""
    return shutil.copytree(drained.data, tmp_path / "data")


async def test_the_drain_has_one_order(drained: Drained) -> None:
    """The gateway has ended before a worker drains, and the workers before Redis does."""
    logs = drained.data / "logs"

    def at(name: str, event: str) -> str:
        lines = map(json.loads, (logs / f"{name}.log").read_text().splitlines())
        return str(next(line["timestamp"] for line in lines if line["event"] == event))

    workers = ("worker-0", "worker-1")
    assert at("gateway", "stopped") < min(at(worker, "draining") for worker in workers)
    # What Redis says last is that it goes; what the workers say last, that they have gone.
    written = {log.stem: log.stat().st_mtime_ns for log in logs.glob("*.log")}
    assert max(written[worker] for worker in workers) < written["redis"]
    assert "bye bye" in (logs / "redis.log").read_text()


async def test_state_survives_a_restart(drained: Drained, data: Path) -> None:
    """The same documents give the same answers, without --shards and without indexing again."""
    async with running_up(data) as again:
        assert "for the 4 shards that the cluster has; --workers changes it" in again.output
        async with Caller(again.url) as caller:
            assert await answer(caller) == drained.answer


async def test_a_folder_keeps_its_shards_when_redis_is_lost(data: Path) -> None:
    """A folder of 4 shards is not read as a new cluster of as many as fit the machine."""
    shutil.rmtree(data / "redis")
    async with running_up(data) as again:
        assert "for the 4 shards that the cluster has" in again.output


async def test_another_number_of_shards_is_refused(data: Path) -> None:
    """The number of shards is fixed; the error for a wrong number names the right one."""
    one = await Up.start(data, "--shards", "6")
    assert await one.process.wait() == 1
    assert "6" in one.output
    assert "4 shards" in one.output
    again = await Up.start(data, "--workers", "5")
    assert await again.process.wait() == 1
    assert "there are 4 shards" in again.output


async def test_state_survives_a_kill_of_everything(tmp_path: Path) -> None:
    """A start right after SIGKILL of the supervisor waits for what drains, and loses nothing."""
    async with running_up(tmp_path / "data", "--shards", "4", "--workers", "2") as up:
        async with Caller(up.url) as caller:
            before = await loaded(caller)
        await up.stop(signal.SIGKILL)
        async with (
            running_up(tmp_path / "data", "--workers", "2") as again,
            Caller(again.url) as caller,
        ):
            assert await answer(caller) == before
