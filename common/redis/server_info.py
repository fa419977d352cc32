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
        evicts_by: the policy by which it removes logs and collections once its memory is full; ""
            if it never does.
    """

    name: str
    version: str
    pid: int
    mode: str = "standalone"
    evicts_by: str = ""

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Self:
        """Read the answers to `INFO server` and `INFO memory`, together."""
        name = "valkey" if "valkey_version" in info else "redis"
        version = str(info.get(f"{name}_version", "unknown"))
        mode = str(info.get("redis_mode", info.get("server_mode", "standalone")))
        return cls(name, version, int(info.get("process_id", 0)), mode, evicting_policy(info))


def evicting_policy(info: Mapping[str, Any]) -> str:
    """The policy by which a server removes keys that have no expiry; "" if it keeps them all.

    Logs and collections are such keys. Policies for keys with an expiry are none of these: what
    they remove is restored within seconds. Without maxmemory, nothing is ever removed.

    Args:
        info: the answer to `INFO memory`.
    """
    policy = str(info.get("maxmemory_policy", ""))
    return policy if policy.startswith("allkeys-") and int(info.get("maxmemory", 0)) > 0 else ""


def eviction_advice(policy: str) -> str:
    """What a policy of `evicting_policy` does, and what to set, in words."""
    return (
        f"the server's maxmemory-policy is {policy}, by which it removes logs and collections, and "
        "so loses documents, once its memory is full; set it to noeviction"
    )


def check_server(
    server: ServerInfo, setting: str = "redis.url", is_in_cluster: bool = False
) -> None:
    """Refuse a server that lacks what Hedgerow uses (BLMPOP, XTRIM MINID, SPUBLISH), or evicts.

    Raises:
        ConfigurationError: it is older than Redis 7.0 or Valkey 8, which it names; or it is a node
            of a Redis Cluster and should not be; or it may remove what it must keep.
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
    if server.evicts_by:
        raise ConfigurationError(f"{setting}: {eviction_advice(server.evicts_by)}")
