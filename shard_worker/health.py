"""Whether a worker is alive: the health check of its container.

    python -m shard_worker.health WORKER

Exits with 0 if the worker's heartbeat in Redis is fresh, otherwise with 1 and the reason on stderr.
Gateways use the same criterion, so a worker is healthy exactly when they send it requests; a
process that has lost Redis, or whose loop is stuck, is not.
"""

import asyncio
import sys

from hedgerow.common.errors import HedgerowError
from hedgerow.common.redis.client import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings, load_settings
from hedgerow.common.wire.heartbeat import Heartbeat


async def unhealthy_because(worker_id: str, settings: Settings) -> str | None:
    """Read the worker's heartbeat once.

    Returns:
        None if it is fresh, otherwise what is wrong.

    Raises:
        ConfigurationError: the server refuses the connection.
        RedisUnavailableError: the server does not answer.
        WireError: the heartbeat cannot be read.
    """
    control = await connect(settings.redis)
    try:
        packed, (seconds, microseconds) = await control.pipeline(
            [("HGET", Keys(settings.redis.key_prefix).workers, worker_id), ("TIME",)]
        )
    finally:
        await control.close()
    if packed is None:
        return "it has sent no heartbeat"
    age_s = int(seconds) + int(microseconds) / 1e6 - Heartbeat.unpack(packed).beat_at_ms / 1000
    if age_s >= settings.worker.heartbeat_expiry_s:
        return f"its last heartbeat is {age_s:.1f} s old"
    return None


def run() -> int:
    """Check the worker that the command line names; returns the exit status."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m hedgerow.shard_worker.health WORKER\n")
        return 2
    try:
        reason = asyncio.run(unhealthy_because(sys.argv[1], load_settings()))
    except HedgerowError as error:
        reason = str(error)
    if reason is None:
        return 0
    sys.stderr.write(f"{sys.argv[1]}: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(run())
