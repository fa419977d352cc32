"""The configuration files of the Redis servers and of the sentinels.

A server has the settings of compose (`deploy/redis/redis.conf`). Sentinel writes the files again
when it makes another server the primary, so each process has one of its own.
"""

from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from typing import Final

from hedgerow.common.redis.hash_slots import NUM_HASH_SLOTS
from nemesis.cluster.ask import SERVICE
from nemesis.commands import ROOT

_MEMORY: Final = "128mb"
_DOWN_AFTER_MS: Final = 2_000  # longer than a restart of a server that has ended takes
_FAILOVER_TIMEOUT_MS: Final = 6_000
_BUS: Final = 10_000  # by how much the port between nodes is higher, if no file says another
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


def write_node(
    file: Path, data: Path, own: Address, nodes: Sequence[Address], num_primaries: int
) -> None:
    """Write the files of a node of a Redis Cluster that knows all others, as if they had met.

    Args:
        file: to write.
        data: the node's folder.
        own: where it listens.
        nodes: all nodes; the first are primaries with equally many hash slots, the others replicas
            of them, in turn.
        num_primaries: how many are.
    """
    write_server(file, data, own, primary=None)
    more = [
        "cluster-enabled yes",
        f"cluster-node-timeout {_DOWN_AFTER_MS}",
        "cluster-require-full-coverage no",
        "cluster-replica-validity-factor 0",
        # A replica stays with its primary, also when that has no slot any more.
        "cluster-allow-replica-migration no",
    ]
    with file.open("a") as lines:
        lines.write("\n".join(more) + "\n")
    known = [
        _node_line(number, nodes, num_primaries, is_own=address == own)
        for number, address in enumerate(nodes)
    ]
    known.append(f"vars currentEpoch {num_primaries} lastVoteEpoch 0")
    (data / "nodes.conf").write_text("\n".join(known) + "\n")


def _node_line(number: int, nodes: Sequence[Address], num_primaries: int, *, is_own: bool) -> str:
    """What a node's file says of a node (https://valkey.io/commands/cluster-nodes/)."""
    host, port = nodes[number]
    mine = "myself," if is_own else ""
    of = number % num_primaries
    if number == of:
        first, end = (NUM_HASH_SLOTS * at // num_primaries for at in (number, number + 1))
        role = f"{mine}master - 0 0 {number + 1} connected {first}-{end - 1}"
    else:
        role = f"{mine}slave {_node_id(nodes[of])} 0 0 {of + 1} connected"
    return f"{_node_id(nodes[number])} {host}:{port}@{port + _BUS} {role}"


def _node_id(address: Address) -> str:
    return sha1("{}:{}".format(*address).encode(), usedforsecurity=False).hexdigest()


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
