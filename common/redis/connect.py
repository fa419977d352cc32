"""How a process comes to its client of Redis: made as the settings say, and checked."""

import asyncio
import os

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.redis.client import RedisClient, pause_s
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.server_info import check_server
from hedgerow.common.redis.topology import Topology
from hedgerow.common.settings.redis import RedisSettings


async def connect(settings: RedisSettings, wait_s: float = 0.0) -> RedisClient:
    """Connect, and check that Hedgerow supports the server.

    Args:
        settings: where the server is.
        wait_s: how long to wait for a server that is not up yet, or is loading its data, in s.

    Raises:
        ConfigurationError: the server is too old, or refuses the user, or the URL is wrong.
        RedisUnavailableError: it does not answer.
    """
    control = client_of(settings)
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + wait_s
    failures = 0
    while True:
        try:
            for client in dict.fromkeys((control, *control.data_clients)):
                check_server(await client.server_info(), client.setting, client.is_in_cluster)
        except RedisUnavailableError as error:
            failures += 1
            if loop.time() >= give_up_at:
                await control.close()
                raise RedisUnavailableError(_not_answered(settings, client, error)) from error
            await asyncio.sleep(pause_s(failures, settings.reconnect_max_s))
        except BaseException:
            await control.close()
            raise
        else:
            return control


def client_of(settings: RedisSettings) -> RedisClient:
    """Make the client that the settings ask for, not connected yet.

    Raises:
        ConfigurationError: the settings contradict each other, or an address cannot be read.
    """
    if not settings.is_split:
        return RedisClient(settings)
    if settings.cluster_nodes:
        primaries = Topology(settings).primaries
        data = [RedisClient(settings, one, setting="redis.cluster_nodes") for one in primaries]
    elif settings.control_url == settings.url:
        raise ConfigurationError(
            "redis.control_url: names the same server as redis.url; leave it out, or name another"
        )
    else:
        data = [RedisClient(settings)]
    return RedisClient(settings.of_control(), data=data, setting="redis.control_url")


def _not_answered(
    settings: RedisSettings, client: RedisClient, error: RedisUnavailableError
) -> str:
    if settings.is_split:
        return f"{client.setting}: Redis does not answer: {_why(error)}"
    if settings.sentinels:
        return f"Redis does not answer: {_why(error)}"
    return f"Redis at {Endpoint.of(settings).address} does not answer: {_why(error)}"


def _why(error: BaseException) -> str:
    """Say in the system's words why there is no connection, if that is the reason."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            # asyncio has words of its own for the system's errors; a resolver has other numbers.
            return os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return str(error)
