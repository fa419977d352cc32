"""Whether a worker is alive: the health check of its container.

    python -m hedgerow.shard_worker.health WORKER [--complete]

Exits with 0 if the worker's heartbeat in Redis is fresh, otherwise with 1 and the reason on stderr.
Gateways use the same criterion, so a worker is healthy exactly when they send it requests; a
process that has lost Redis, or whose loop is stuck, is not. If the clock of the Redis server is set
back by up to a minute, such a process may count as healthy for that much longer. Gateways are not
misled: they see that its heartbeat does not change, which a single look cannot tell.

With `--complete`, the worker must also serve all of its shards: a rolling restart goes on to the
next worker when this one no longer needs its replicas.
"""

import asyncio
import sys
from typing import Final

from hedgerow.common.errors import HedgerowError
from hedgerow.common.placement.document import Placement
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings, load_settings
from hedgerow.common.state.layout import current_keys
from hedgerow.common.wire.heartbeat import Heartbeat

# A live worker is ahead for less than that after the server's clock was set back.
_MOST_AHEAD_S: Final = 60.0


async def unhealthy_because(
    worker_id: str, settings: Settings, *, is_complete: bool = False
) -> str | None:
    """Read the worker's heartbeat once.

    Args:
        worker_id: the worker's name.
        settings: `redis` and `worker.heartbeat_expiry_s` are used.
        is_complete: whether it must also serve all of its shards.

    Returns:
        None if it is healthy, otherwise what is wrong.

    Raises:
        ConfigurationError: the server refuses the connection.
        RedisUnavailableError: the server does not answer.
        WireError: the heartbeat, or the placement, cannot be read.
    """
    control = await connect(settings.redis.of_control())
    try:
        keys = await current_keys(control, Keys.of(settings.redis))
        packed, (seconds, microseconds), placed = await control.pipeline(
            [("HGET", keys.workers, worker_id), ("TIME",), ("GET", keys.placement)]
        )
    finally:
        await control.close()
    if packed is None:
        return "it has sent no heartbeat"
    heartbeat = Heartbeat.unpack(packed)
    age_s = int(seconds) + int(microseconds) / 1e6 - heartbeat.beat_at_ms / 1000
    if age_s >= settings.worker.heartbeat_expiry_s:
        return f"its last heartbeat is {age_s:.1f} s old"
    if age_s < -_MOST_AHEAD_S:
        return f"its last heartbeat is {-age_s:.1f} s ahead of the Redis server"
    if is_complete and (missing := unserved(heartbeat, placed)):
        return f"it does not serve shards {', '.join(map(str, missing))} yet"
    return None


def unserved(heartbeat: Heartbeat, placed: bytes | None) -> list[int]:
    """The shards that a worker has or should have, and does not serve.

    Args:
        heartbeat: the worker's.
        placed: the cluster's placement as JSON; None if there is none.

    Raises:
        WireError: the placement cannot be read.
    """
    its_own = {*heartbeat.behind, *heartbeat.gaps}
    if placed is not None and heartbeat.joins:
        its_own |= Placement.from_json(placed).held_by(heartbeat.id)
    return sorted(its_own - {*heartbeat.shards})


def run() -> int:
    """Check the worker that the command line names; returns the exit status."""
    match sys.argv[1:]:
        case [worker_id]:
            is_complete = False
        case [worker_id, "--complete"]:
            is_complete = True
        case _:
            sys.stderr.write("usage: python -m hedgerow.shard_worker.health WORKER [--complete]\n")
            return 2
    try:
        checked = unhealthy_because(worker_id, load_settings(), is_complete=is_complete)
        reason = asyncio.run(checked)
    except HedgerowError as error:
        reason = str(error)
    if reason is None:
        return 0
    sys.stderr.write(f"{worker_id}: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(run())
