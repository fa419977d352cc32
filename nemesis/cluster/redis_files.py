"""The configuration files of the Redis servers and of the sentinels.

A server has the settings of compose (`deploy/redis/redis.conf`). Sentinel writes the files again
when it makes another server the primary, so each process has one of its own.
"""

from pathlib import Path
from typing import Final

from nemesis.cluster.ask import SERVICE
from nemesis.commands import ROOT

_MEMORY: Final = "128mb"
_DOWN_AFTER_MS: Final = 2_000  # longer than a restart of a server that has ended takes
_FAILOVER_TIMEOUT_MS: Final = 6_000
_QUORUM: Final = 2

Address = tuple[str, int]


def write_server(file: Path, data: Path, own: Address, primary: Address | None) -> None:
    """Write the file of a server.

    Args:
        file: to write.
        data: the server's folder.
        own: where it listens.
        primary: of which it is a replica at first; None if it is the primary.
    """
    as_in_compose = (ROOT / "deploy" / "redis" / "redis.conf").read_text()
    host, port = own
    more = [
        f"dir {data}",
        f"bind {host}",
        f"port {port}",
        "protected-mode no",
        f"maxmemory {_MEMORY}",
        "repl-diskless-sync-delay 0",
        "repl-ping-replica-period 1",
        *([f"replicaof {primary[0]} {primary[1]}"] if primary else []),
    ]
    # The server looks for a folder as soon as it reads of one.
    file.write_text(as_in_compose.replace("\ndir /data\n", "\n") + "\n".join(more) + "\n")


def write_sentinel(file: Path, own: Address, primary: Address) -> None:
    """Write the file of a sentinel."""
    host, port = own
    lines = [
        f"bind {host}",
        f"port {port}",
        f"dir {file.parent}",
        "protected-mode no",
        f"sentinel monitor {SERVICE} {primary[0]} {primary[1]} {_QUORUM}",
        f"sentinel down-after-milliseconds {SERVICE} {_DOWN_AFTER_MS}",
        f"sentinel failover-timeout {SERVICE} {_FAILOVER_TIMEOUT_MS}",
    ]
    file.write_text("\n".join(lines) + "\n")
