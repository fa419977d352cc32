"""Decides which node of a Redis Cluster has a hash slot, from what the nodes say."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hedgerow.common.redis.sentinel_view import Address

_UNREACHABLE = {"noaddr", "handshake"}


class NodeReport(NamedTuple):
    """What a node says about one node, itself perhaps.

    Attributes:
        id: the node's name in the cluster.
        epoch: its configuration's; a node that takes over slots gets a higher one.
        is_primary: whether it is no replica.
        ranges: the hash slots that it has, as pairs of the first and the last.
    """

    id: str
    address: Address
    epoch: int
    is_primary: bool
    ranges: tuple[tuple[int, int], ...]

    def has(self, hash_slot: int) -> bool:
        """Whether it has a hash slot."""
        return any(first <= hash_slot <= last for first, last in self.ranges)


def read_nodes(text: str, asked: Address, *, by_name: bool = False) -> list[NodeReport]:
    """Read the answer to CLUSTER NODES (https://valkey.io/commands/cluster-nodes/).

    Args:
        text: the answer.
        asked: the node that gave it; it may not know its own address.
        by_name: whether to take hostnames where there are some, since certificates name them.

    Raises:
        ValueError: it cannot be read.
    """
    return list(_read(text, asked, by_name))


def _read(text: str, asked: Address, by_name: bool) -> Iterator[NodeReport]:
    for line in text.splitlines():
        name, where, flag_text, _, _, _, epoch, _, *slots = line.split(" ")
        flags = set(flag_text.split(","))
        if flags & _UNREACHABLE:
            continue
        host_port, *more = where.split(",")
        hostname = more[0] if more and "=" not in more[0] else ""
        host, _, port = host_port.partition("@")[0].rpartition(":")
        yield NodeReport(
            name,
            Address((by_name and hostname) or host or asked.host, int(port)),
            int(epoch),
            "master" in flags,
            # A slot in brackets is on its way: its owner is still the one that has it as a number.
            tuple(_range(slot) for slot in slots if slot and not slot.startswith("[")),
        )


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


class _Owner(NamedTuple):
    id: str
    address: Address
    epoch: int


class ClusterView:
    """The owners of some hash slots, and the nodes that can be asked for them.

    Nodes learn of changes one after another, and one that was cut off still names the old owner.
    Therefore the claim with the highest epoch counts, not the latest.

    Attributes:
        nodes: all known nodes, owners of watched slots first.
    """

    def __init__(self, hash_slots: Iterable[int]) -> None:
        """Watch some hash slots."""
        self._watched = tuple(hash_slots)
        self._owners: dict[int, _Owner] = {}
        self._primaries: set[str] = set()  # nodes that have been primaries at the last report
        self.nodes: tuple[Address, ...] = ()

    def owner(self, hash_slot: int) -> Address | None:
        """Where a watched hash slot is; None if no node has it, as far as is known."""
        owner = self._owners.get(hash_slot)
        return None if owner is None else owner.address

    def take(self, reports: Iterable[NodeReport]) -> dict[int, bool]:
        """Take a node's answer into account.

        Returns:
            The watched slots that are elsewhere now, and whether their node has failed over: then a
            replica has them, which may lack the last writes. Another primary gets them whole.
        """
        known = list(reports)
        changed: dict[int, bool] = {}
        for hash_slot in self._watched:
            for node in known:
                if node.is_primary and node.has(hash_slot) and self._is_newer(hash_slot, node):
                    if self.owner(hash_slot) != node.address:
                        changed[hash_slot] = node.id not in self._primaries
                    self._owners[hash_slot] = _Owner(node.id, node.address, node.epoch)
        self._primaries -= {node.id for node in known if not node.is_primary}
        self._primaries |= {node.id for node in known if node.is_primary}
        owners = [owner.address for owner in self._owners.values()]
        self.nodes = tuple(dict.fromkeys([*owners, *(node.address for node in known)]))
        return changed

    def _is_newer(self, hash_slot: int, node: NodeReport) -> bool:
        owner = self._owners.get(hash_slot)
        if owner is None or node.epoch > owner.epoch:
            return True
        return node.id == owner.id and node.epoch == owner.epoch  # its address may be another
