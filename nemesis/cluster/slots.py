"""`python -m nemesis.cluster.slots`: the slots of the shards in a Redis Cluster, from its network.

`owner SLOT ADDRESSES` prints the address of the node that has a slot (numbered from 0). `begin SLOT
ADDRESSES CHOICE` begins to move it to one of the other primaries and prints which. `end SLOT
ADDRESSES TO` moves its keys there, one batch after another as `redis-cli` does, until that node has
the slot, or the replica that has taken its place. ADDRESSES are those of all nodes, between commas.

Redis moves a key in two steps, which a failover can separate. So a move waits while one of the two
nodes has no replica that follows it, and begins again with what it finds.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import redis

from hedgerow.common.redis.cluster_view import NodeReport, read_nodes
from hedgerow.common.redis.hash_slots import hash_slot, tags
from hedgerow.common.redis.sentinel_view import Address
from nemesis.layout import NUM_PRIMARIES, NUM_SLOTS

_ANSWER_S: Final = 0.5
_PATIENCE_S: Final = 60.0  # of a move, with nodes that fail meanwhile
_AGAIN_S: Final = 0.2
_BATCH: Final = 10
_MIGRATE_TIMEOUT_MS: Final = 2_000
_MOST_LAG_S: Final = 1
_ERRORS: Final = (redis.RedisError, OSError)


class Nodes:
    """The nodes of a Redis Cluster, by what those say that answer."""

    def __init__(self, addresses: Sequence[str]) -> None:
        """Ask the nodes at these addresses: the primaries at first, then their replicas."""
        parts = [one.rpartition(":") for one in addresses]
        self._addresses = [Address(host, int(port)) for host, _, port in parts]

    def ask(self, node: Address, *command: str | int) -> Any:
        """Have a node carry out a command."""
        with redis.Redis(
            host=node.host,
            port=node.port,
            socket_timeout=_ANSWER_S + _MIGRATE_TIMEOUT_MS / 1e3,
            socket_connect_timeout=_ANSWER_S,
        ) as client:
            return client.execute_command(*command)

    def owner(self, number: int) -> NodeReport | None:
        """The node that has a hash slot, by the newest claim."""
        claims = [one for one in self._reports() if one.is_primary and one.has(number)]
        return max(claims, key=lambda one: one.epoch, default=None)

    def primary_of(self, node: Address) -> NodeReport | None:
        """The primary among a node and the one that shares its data."""
        place = self._addresses.index(node) % NUM_PRIMARIES
        pair = self._addresses[place::NUM_PRIMARIES]
        claims = [one for one in self._reports() if one.is_primary and one.address in pair]
        return max(claims, key=lambda one: one.epoch, default=None)

    def others(self, node: Address) -> list[Address]:
        """A node of each pair but this node's."""
        place = self._addresses.index(node) % NUM_PRIMARIES
        return [one for index, one in enumerate(self._addresses[:NUM_PRIMARIES]) if index != place]

    def is_followed(self, node: Address) -> bool:
        """Whether a replica has what a node has, up to a second."""
        told = self.ask(node, "INFO", "replication")
        replicas = [told[f"slave{number}"] for number in range(int(told["connected_slaves"]))]
        return any(one["state"] == "online" and one["lag"] <= _MOST_LAG_S for one in replicas)

    def tell_all(self, *command: str | int) -> None:
        """Have every node carry out a command that can."""
        for node in self._addresses:
            with contextlib.suppress(*_ERRORS):  # a replica, or one that is away
                self.ask(node, *command)

    def _reports(self) -> Iterator[NodeReport]:
        for node in self._addresses:
            with contextlib.suppress(*_ERRORS):
                yield from read_nodes(self.ask(node, "CLUSTER", "NODES").decode(), node)


def _owner(nodes: Nodes, number: int) -> str:
    owner = nodes.owner(number)
    if owner is None:
        raise LookupError(f"no node has hash slot {number}")
    return str(owner.address)


def _begin(nodes: Nodes, number: int, choice: str) -> str:
    owner = nodes.owner(number)
    if owner is None:
        raise LookupError(f"no node has hash slot {number}")
    others = nodes.others(owner.address)
    to = nodes.primary_of(others[int(float(choice) * len(others)) % len(others)])
    if to is None:
        raise LookupError("no other node is a primary")
    _mark(nodes, number, owner, to)
    return str(to.address)


def _end(nodes: Nodes, number: int, to: str) -> str:
    """Move the keys, whatever fails meanwhile, until the slot is there."""
    host, _, port = to.rpartition(":")
    goal = Address(host, int(port))
    give_up_at = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if _step(nodes, number, goal):
                return ""
            failure = "a node has no replica that follows it"
        except _ERRORS as error:
            failure = str(error)
        if time.monotonic() > give_up_at:
            raise LookupError(f"hash slot {number} does not get to {to}: {failure}")
        time.sleep(_AGAIN_S)


def _step(nodes: Nodes, number: int, goal: Address) -> bool:
    """Move a batch of keys, or the slot after the last one; whether the slot is there."""
    source, target = nodes.owner(number), nodes.primary_of(goal)
    if source is None or target is None:
        return False
    if source.address == target.address:
        nodes.tell_all("CLUSTER", "SETSLOT", number, "STABLE")
        return True
    _mark(nodes, number, source, target)
    while keys := nodes.ask(source.address, "CLUSTER", "GETKEYSINSLOT", number, _BATCH):
        if not (nodes.is_followed(source.address) and nodes.is_followed(target.address)):
            return False
        where = (target.address.host, target.address.port, "", 0, _MIGRATE_TIMEOUT_MS)
        # What the source has counts: what is there already is of an attempt that was cut short.
        nodes.ask(source.address, "MIGRATE", *where, "REPLACE", "KEYS", *keys)
    # Both in this order: the slot must not be without an owner in between.
    nodes.ask(target.address, "CLUSTER", "SETSLOT", number, "NODE", target.id)
    nodes.ask(source.address, "CLUSTER", "SETSLOT", number, "NODE", target.id)
    nodes.tell_all("CLUSTER", "SETSLOT", number, "NODE", target.id)
    return True


def _mark(nodes: Nodes, number: int, source: NodeReport, target: NodeReport) -> None:
    """Have both nodes know that the slot is on its way."""
    nodes.ask(target.address, "CLUSTER", "SETSLOT", number, "IMPORTING", source.id)
    nodes.ask(source.address, "CLUSTER", "SETSLOT", number, "MIGRATING", target.id)


def main() -> None:
    """Do it; exits with 1 if that fails."""
    what, slot, addresses, *more = sys.argv[1:]
    steps: dict[str, Callable[..., str]] = {"owner": _owner, "begin": _begin, "end": _end}
    number = hash_slot(f"{{{tags(NUM_SLOTS)[int(slot)]}}}")
    try:
        sys.stdout.write(steps[what](Nodes(addresses.split(",")), number, *more))
    except (*_ERRORS, LookupError) as error:
        sys.exit(f"{what} {slot}: {error}")


if __name__ == "__main__":
    main()
