"""The nodes of a Redis Cluster: asks them which of them has which slot, and has connections follow.

Each of the slots that Hedgerow uses is a `Primary` of its own: a server that moves when a replica
takes over from its node, or when the slot is given to another node. A node that no longer has a
slot answers with MOVED, which makes the slot's connections leave at once and ask. A node that hangs
is left when the others say that a replica has taken over.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.redis.cluster_view import ClusterView, read_nodes
from hedgerow.common.redis.commands import CommandError
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.hash_slots import hash_slot, tags
from hedgerow.common.redis.moving_primary import MovingPrimary
from hedgerow.common.redis.sentinel_view import Address
from hedgerow.common.redis.sentinels import check_url
from hedgerow.common.runtime.ticks import tick_after
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.tasks import end

SILENCE_S: Final = 2.0  # a node that owes an answer for this long does not count
ASK_TIMEOUT_S: Final = 0.25
# How often the nodes are asked: as a rule, and while a slot's connections look for it.
INTERVAL_S: Final = 1.0
SEARCH_INTERVAL_S: Final = 0.05
SEARCH_S: Final = 5.0
MOST_ASKED: Final = 12  # nodes; those that have a used slot come first
_REFUSALS: Final = ("WRONGPASS", "NOAUTH", "NOPERM", "ERR AUTH", "ERR invalid password")
_NO_CLUSTER: Final = "cluster support disabled"

log = structlog.get_logger()


class SlotPrimary(MovingPrimary):
    """A `Primary`: the node that has a hash slot."""

    def __init__(self, topology: "Topology", number: int) -> None:
        super().__init__(topology.servers)
        self._topology = topology
        self._number = number
        self._left_at = float("-inf")
        self._left: Address | None = None

    async def find(self) -> Endpoint:
        """Ask the nodes; see `Primary.find`."""
        address = await self._topology.owner(self._number)
        now = asyncio.get_running_loop().time()
        if address == self._left and now < self._left_at + SEARCH_INTERVAL_S:
            # It was just told to go away from there: the nodes do not agree yet.
            await asyncio.sleep(SEARCH_INTERVAL_S)
            address = await self._topology.owner(self._number)
        return self.at(*address)

    def doubt(self, version: int) -> None:
        """See `Primary.doubt`."""
        if version == self.version:
            self._left = self._topology.view.owner(self._number)
            self._left_at = asyncio.get_running_loop().time()
            log.warning("redis_slot_doubted", slot=self._number, node=str(self._left))
            self._topology.search()
            self._leave()

    def moved(self, *, is_failover: bool) -> None:
        """The nodes say that the slot is elsewhere now."""
        if is_failover:
            self._has_failed_over()
        else:
            self._leave()

    async def close(self) -> None:
        """Stop asking the nodes, also about the other slots."""
        await self._topology.close()


class Topology:
    """Asks the nodes of a Redis Cluster where the slots are, from the first `owner` on.

    Attributes:
        servers: how to connect to a node.
        view: what is known of the slots.
        primaries: one for each of the used slots.
    """

    def __init__(self, settings: RedisSettings) -> None:
        """Read the settings.

        Raises:
            ConfigurationError: they contradict each other, or an address cannot be read.
        """
        check_url(settings, "redis.cluster_nodes")
        self.servers = Endpoint.of(settings)
        if self.servers.database:
            raise ConfigurationError("redis.url: a Redis Cluster has only database 0")
        if set(settings.key_prefix) & set("{}"):
            raise ConfigurationError("redis.key_prefix: must have no brace with Redis Cluster")
        numbers = [hash_slot(f"{{{tag}}}") for tag in tags(settings.cluster_slots)]
        self.view = ClusterView(numbers)
        self.primaries = tuple(SlotPrimary(self, number) for number in numbers)
        self._by_number = dict(zip(numbers, self.primaries, strict=True))
        self._seeds = tuple(_address(text) for text in settings.cluster_nodes)
        self._nodes: dict[Address, RedisConnection] = {}
        self._refusals: dict[Address, str] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._watching: list[asyncio.Task[None]] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._search_until = float("-inf")
        self._woken = asyncio.Event()

    async def owner(self, number: int) -> Address:
        """Ask which node has a used hash slot.

        Raises:
            RedisUnavailableError: no node answers, or none has it.
            ConfigurationError: the nodes refuse the user, or are not part of a Redis Cluster.
        """
        self._start()
        self.search()
        await self._refresh_now()
        if not self.view.nodes:
            await self._wait_for_first()
        address = self.view.owner(number)
        if address is None:
            raise self._why_unknown(number)
        return address

    def search(self) -> None:
        """Ask often for a while: connections look for a slot's node."""
        self._search_until = asyncio.get_running_loop().time() + SEARCH_S
        self._woken.set()

    async def close(self) -> None:
        """Close the connections to the nodes."""
        watching, self._watching = self._watching, []
        await end(watching)
        if self._refreshing is not None:
            await end([self._refreshing])
        await asyncio.gather(*self._leaving)
        nodes, self._nodes = self._nodes, {}
        await asyncio.gather(*(node.close() for node in nodes.values()))

    def _start(self) -> None:
        if not self._watching:
            self._connect(self._seeds)
            self._watching = [asyncio.create_task(self._watch(), name="cluster topology")]

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._refresh_now()
            if loop.time() < self._search_until:
                await asyncio.sleep(SEARCH_INTERVAL_S)
                continue
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(tick_after(INTERVAL_S)):
                    await self._woken.wait()

    async def _refresh_now(self) -> None:
        """Ask all nodes that are connected; callers at the same time share the answers."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh(), name="ask the nodes")
        await asyncio.shield(self._refreshing)

    async def _refresh(self) -> None:
        asking = [
            asyncio.create_task(self._ask(address, node), name=f"ask {address}")
            for address, node in self._nodes.items()
            if node.is_connected
        ]
        if asking:
            await asyncio.wait(asking, timeout=ASK_TIMEOUT_S)
            await end(asking)
        self._connect((*self._seeds, *self.view.nodes)[: MOST_ASKED + len(self._seeds)])

    async def _ask(self, address: Address, node: RedisConnection) -> None:
        try:
            text = await node.call("CLUSTER", "NODES")
            reports = read_nodes(text.decode(), address, by_name=self.servers.tls is not None)
        except CommandError as error:
            self._refusals[address] = str(error)
            return
        except (RedisUnavailableError, ValueError) as error:
            log.debug("node_not_asked", node=str(address), error=str(error))
            return
        self._refusals.pop(address, None)
        known = {number: self.view.owner(number) for number in self._by_number}
        for number, is_failover in self.view.take(reports).items():
            if known[number] is not None:
                log.warning(
                    "redis_slot_moved",
                    slot=number,
                    old=str(known[number]),
                    new=str(self.view.owner(number)),
                    failover=is_failover,
                )
                self._by_number[number].moved(is_failover=is_failover)

    def _connect(self, addresses: Sequence[Address]) -> None:
        """Be connected to these nodes, and to no others."""
        for address in self._nodes.keys() - set(addresses):
            self._refusals.pop(address, None)
            task = asyncio.create_task(self._nodes.pop(address).close(), name=f"leave {address}")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for address in dict.fromkeys(addresses):
            if address not in self._nodes:
                node = RedisConnection(
                    self.servers.at(*address),
                    name=f"hedgerow-topology-{address}",
                    silence_s=SILENCE_S,
                )
                self._nodes[address] = node
                node.begin()

    async def _wait_for_first(self) -> None:
        """Wait until a node has answered for the first time, or all have failed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.servers.connect_timeout_s):
                while not self.view.nodes:
                    tried = [node.tried.is_set() for node in self._nodes.values()]
                    await self._refresh_now()
                    if all(tried) or self.view.nodes:
                        return
                    await asyncio.sleep(SEARCH_INTERVAL_S / 5)

    def _why_unknown(self, number: int) -> Exception:
        if self.view.nodes:
            return RedisUnavailableError(f"no node of the Redis Cluster has hash slot {number}")
        problems = [*self._refusals.values(), *(one.last_error for one in self._nodes.values())]
        problems = [problem for problem in problems if problem]
        for problem in problems:
            if _NO_CLUSTER in problem:
                return ConfigurationError(
                    "redis.cluster_nodes: a server is not part of a Redis Cluster; "
                    "redis.url is for servers without one"
                )
            if problem.startswith(_REFUSALS):
                return ConfigurationError(
                    f"redis: a node of the cluster refuses the user or password: {problem}"
                )
        names = ", ".join(map(str, self._seeds))
        why = f": {problems[0]}" if problems else ""
        return RedisUnavailableError(f"none of the nodes {names} answers{why}")


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536 or set(host) & set("@/"):
        shown = text.rpartition("@")[2]  # without what may be a password
        raise ConfigurationError(
            f"redis.cluster_nodes: {shown!r} is not HOST:PORT; redis.url says whether they use "
            "TLS, as in rediss:///0, and redis.username and redis.password are the user's"
        )
    return Address(host, int(port))
