"""The kinds of Redis that a cluster may live on: one server, two servers, or nodes and a server."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.harness.redis_cluster import running_redis_cluster
from hedgerow.common.settings.redis import RedisSettings
from tests.support.servers import DURABLE, RedisServer, temporary_server

ONE: Final = "one server"
CONTROL: Final = "a control server"
NODES: Final = "three nodes"
KINDS: Final = (ONE, CONTROL, NODES)


@dataclass
class RedisKind:
    """The servers of one kind.

    Attributes:
        server: the only server, or that of the control plane.
        redis: the settings of a client.
    """

    server: RedisServer
    redis: RedisSettings

    def under(self, prefix: str) -> RedisSettings:
        """The settings of a client whose keys begin so."""
        return self.redis.model_copy(update={"key_prefix": prefix})


def environment_of(redis: RedisSettings) -> dict[str, str]:
    """The variables with the same settings, except the URL."""
    found = {"HEDGEROW_REDIS__KEY_PREFIX": redis.key_prefix}
    if redis.control_url is not None:
        found["HEDGEROW_REDIS__CONTROL_URL"] = redis.control_url
    if redis.cluster_nodes:
        found["HEDGEROW_REDIS__CLUSTER_NODES"] = json.dumps(redis.cluster_nodes)
        found["HEDGEROW_REDIS__CLUSTER_SLOTS"] = str(redis.cluster_slots)
    return found


@contextlib.contextmanager
def redis_of(kind: str) -> Iterator[RedisKind]:
    """Servers of one kind, for the block."""
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(temporary_server(*DURABLE))
        if kind == NODES:
            nodes = opened.enter_context(running_redis_cluster())
            redis = nodes.settings(control_url=server.url)
        elif kind == CONTROL:
            data = opened.enter_context(temporary_server(*DURABLE))
            redis = RedisSettings(url=data.url, control_url=server.url, reconnect_max_s=0.3)
        else:
            redis = RedisSettings(url=server.url, reconnect_max_s=0.3)
        yield RedisKind(server, redis)
