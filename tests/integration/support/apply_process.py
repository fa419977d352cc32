"""A process that does nothing but apply the logs of a test's shards, to be killed.

python -m tests.integration.support.apply_process URL PREFIX DATA BATCH_BYTES
"""

import asyncio
import sys
from pathlib import Path

from hedgerow.common.redis.connect import connect
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.shard_worker.executors.process_pool.forkserver_start import Start, WaitingForkservers
from hedgerow.shard_worker.wiring import indexer_lane
from tests.integration.support.write_path import NUM_SHARDS, following, opened


async def apply(forkservers: Start, url: str, prefix: str, data: str, batch_bytes: str) -> None:
    """Apply until killed; says on stdout when the shards are open, and which pids it has."""
    settings = Settings(
        data=Path(data),
        redis=RedisSettings(url=url, key_prefix=prefix),
        limits=LimitSettings(apply_batch_bytes=int(batch_bytes)),
    )
    shards = tuple(range(NUM_SHARDS))
    lane = indexer_lane(settings, forkservers)
    async with opened(await connect(settings.redis), settings, shards, lane) as applier:
        sys.stdout.write(f"{' '.join(map(str, lane.load()['pids']))}\n")
        sys.stdout.flush()
        await following(applier)


if __name__ == "__main__":
    with WaitingForkservers.forked(1) as waiting:  # as a worker does
        asyncio.run(apply(waiting, *sys.argv[1:]))
