"""The health check of a worker's container, as a process against a real server."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.wire.heartbeat import Heartbeat
from tests.support.clusters import ROOT, cluster_of_its_own
from tests.support.launching import launch_and_wait
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration


def check(
    server_url: str, prefix: str, worker: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run the check as a container engine would."""
    return launch_and_wait(
        [sys.executable, "-m", "hedgerow.shard_worker.health", worker, *options],
        env={
            **os.environ,
            "HEDGEROW_REDIS__URL": server_url,
            "HEDGEROW_REDIS__KEY_PREFIX": prefix,
            "HEDGEROW_REDIS__COMMAND_TIMEOUT_S": "1",
            "HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S": "30",
        },
    )


async def beat(control: RedisClient, prefix: str, worker: str, age_s: float) -> None:
    """Store a heartbeat that was sent `age_s` ago."""
    now_ms = int((time.time() - age_s) * 1000)
    heartbeat = Heartbeat(worker, 1, "here", [0], "0", beat_at_ms=now_ms, started_at_ms=now_ms)
    await control.execute("HSET", Keys(prefix).workers, worker, heartbeat.pack())


async def test_a_worker_is_healthy_while_its_heartbeat_is_fresh(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """Exit 0 for a fresh heartbeat; 1 and why for a stale one, one of the future, and none."""
    control = await connect(RedisSettings(url=redis_server.url))
    try:
        await beat(control, key_prefix, "fresh", age_s=0)
        await beat(control, key_prefix, "stale", age_s=40)
        await beat(control, key_prefix, "ahead", age_s=-3600)
    finally:
        await control.close()

    assert check(redis_server.url, key_prefix, "fresh").returncode == 0
    stale = check(redis_server.url, key_prefix, "stale")
    assert stale.returncode == 1
    told = re.search(r"([\d.]+) s old", stale.stderr)
    assert told is not None
    assert 40 <= float(told[1]) < 60  # the check itself takes a while
    ahead = check(redis_server.url, key_prefix, "ahead")
    assert (ahead.returncode, "s ahead of the Redis server" in ahead.stderr) == (1, True)
    absent = check(redis_server.url, key_prefix, "absent")
    assert (absent.returncode, "no heartbeat" in absent.stderr) == (1, True)


async def test_a_worker_is_complete_when_it_serves_all_of_its_shards(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """With --complete, a shard that is behind, has a gap or is yet to be opened is named."""
    placement = Placement(1, 3, 1, 0, (ShardPlacement(("all",)), ShardPlacement((), ("one",))))
    now_ms = int(time.time() * 1000)
    of_all = Heartbeat("all", 1, "here", [0], "0", now_ms, now_ms, joins=True)
    control = await connect(RedisSettings(url=redis_server.url))
    try:
        keys = Keys(key_prefix)
        assert await PlacementStore(control, keys).write(placement, 0)
        for beat in (
            of_all,
            replace(of_all, id="one"),
            replace(of_all, id="pinned", joins=False, behind=[2], gaps=[4]),
        ):
            await control.execute("HSET", keys.workers, beat.id, beat.pack())
    finally:
        await control.close()

    for worker, missing in (("all", None), ("one", "shards 1 yet"), ("pinned", "shards 2, 4 yet")):
        complete = check(redis_server.url, key_prefix, worker, "--complete")
        assert complete.returncode == (0 if missing is None else 1)
        assert (missing or "") in complete.stderr
    assert check(redis_server.url, key_prefix, "pinned").returncode == 0


def test_a_worker_without_redis_is_unhealthy(key_prefix: str) -> None:
    """Exit 1 and one line, no traceback, when the server does not answer."""
    result = check("unix:///nowhere/redis.sock", key_prefix, "worker-0")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["compose.yaml", "compose.join.yaml"])
async def test_containers_ask_a_file_for_how_long_the_heartbeat_is_fresh(
    tmp_path: Path, name: str
) -> None:
    """The check of compose.yaml passes while a worker is live: not when it, or Redis, stands still.

    Nor when there is no file yet, or the clock is set back while the worker stands still.
    """
    text = (ROOT / name).read_text(encoding="utf-8")
    path = re.search(r"HEDGEROW_WORKER__HEALTH_FILE: (\S+)", text)
    check = re.search(r"test: \[CMD-SHELL, '(test .*)'\]", text)
    assert path
    assert check
    file = tmp_path / "fresh-until"
    command = check[1].replace("$$", "$").replace(path[1], str(file))

    def is_healthy() -> bool:
        run = subprocess.run(["sh", "-c", command], capture_output=True, timeout=30, check=False)
        return run.returncode == 0

    assert not is_healthy()
    with cluster_of_its_own(
        num_shards=1, num_workers=1, environment={"HEDGEROW_WORKER__HEALTH_FILE": str(file)}
    ) as cluster:
        await until(is_healthy, what="the worker is healthy")
        for stand_still in (partial(cluster.signal, 0), cluster.server.signal):
            stand_still(signal.SIGSTOP)
            await until(lambda: not is_healthy(), what="its heartbeat is old")
            stand_still(signal.SIGCONT)
            await until(is_healthy, what="the worker is healthy again")
        # As after the clock was set back by an hour.
        in_an_hour = time.time() + 3600
        cluster.signal(0, signal.SIGSTOP)
        await until(lambda: not is_healthy(), what="its heartbeat is old")
        os.utime(file, (in_an_hour, in_an_hour))
        assert not is_healthy()
        cluster.signal(0, signal.SIGCONT)
        await until(is_healthy, what="the next heartbeat counts")
