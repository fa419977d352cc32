"""What a server says about itself, and whether Hedgerow can use it."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from hedgerow.common.errors import ConfigurationError


class ServerInfo(NamedTuple):
    """The server that answers.

    Attributes:
        name: "redis" or "valkey".
        version: its version, such as "8.1.3".
        pid: its process.
        mode: "standalone" or "cluster", or another that Hedgerow does not ask for.
    """

    name: str
    version: str
    pid: int
    mode: str = "standalone"

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Self:
        """Read the answer to INFO."""
        name = "valkey" if "valkey_version" in info else "redis"
        version = str(info.get(f"{name}_version", "unknown"))
        mode = str(info.get("redis_mode", info.get("server_mode", "standalone")))
        return cls(name, version, int(info.get("process_id", 0)), mode)


def check_server(
    server: ServerInfo, setting: str = "redis.url", is_in_cluster: bool = False
) -> None:
    """Refuse a server that lacks what Hedgerow uses: BLMPOP, XTRIM MINID, SPUBLISH.

    Raises:
        ConfigurationError: it is older than Redis 7.0 or Valkey 8, which it names; or it is a node
            of a Redis Cluster and should not be.
    """
    major = server.version.partition(".")[0]
    oldest = 8 if server.name == "valkey" else 7
    if not major.isdigit() or int(major) < oldest:
        raise ConfigurationError(
            f"{setting}: the server is {server.name} {server.version}; "
            "Redis 7.0 or newer, or Valkey 8 or newer, is needed"
        )
    if server.mode == "cluster" and not is_in_cluster:
        raise ConfigurationError(
            f"{setting}: the server is a node of a Redis Cluster; redis.cluster_nodes are the "
            "setting for those, and redis.control_url for a server beside them"
        )
