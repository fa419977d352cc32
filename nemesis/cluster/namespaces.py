"""A network of namespaces: each process has one, and a router in the middle connects them.

Directions are cut by rules of the router that drop what comes in from one interface for one
address. To be disturbed, they are routed through a TUN device instead, whose other end is a process
of ours (`packets`): kernels without netem can do this, and it delays, loses and reorders packets
below TCP, as netem would.
"""

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from nemesis.cluster.links import LOAD, Disturbance, Pair
from nemesis.commands import Helper, run
from nemesis.layout import GATEWAYS, NODES, PROCESSES, REDIS, SENTINELS, SERVERS, SPARE, WORKERS

_PORTS = {
    **dict.fromkeys((*SERVERS, *NODES), 6379),
    **dict.fromkeys(SENTINELS, 26379),
    **dict.fromkeys(GATEWAYS, 8080),
    **dict.fromkeys((*WORKERS, SPARE), 9100),
}
_UP_S = 10.0
_DEVICE = "nm0"
_TABLE = "77"
_FIRST_CUT, _FIRST_DISTURBANCE = 1_000, 10_000  # priorities of rules: what is cut, is cut


class Namespaces:
    """Namespaces of this run; the machine's own network is not touched."""

    is_direct = True

    def __init__(self, seed: int, *, with_packets: bool, with_nodes: bool = False) -> None:
        """Name them after this process.

        Args:
            seed: of the chance by which packets are lost.
            with_packets: whether directions can be disturbed.
            with_nodes: whether there are the nodes of a Redis Cluster.
        """
        self._prefix = f"nemesis-{os.getpid()}"
        self._names = (*PROCESSES, *(NODES if with_nodes else ()), LOAD)
        self._cuts = itertools.count(_FIRST_CUT)
        self._disturbances = itertools.count(_FIRST_DISTURBANCE)
        self._packets = (
            Helper(
                "nemesis.cluster.packets",
                _DEVICE,
                str(seed),
                within=["nsenter", f"--net=/run/netns/{self._hub}"],
            )
            if with_packets
            else None
        )

    async def open(self) -> None:
        """Create the namespaces, the router and the links between them."""
        await run("ip", "netns", "add", self._hub)
        within_hub = ("nsenter", f"--net=/run/netns/{self._hub}")
        await run(*within_hub, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        # What comes back from the TUN device has a source that is reached by another interface.
        await run(
            *within_hub,
            "sh",
            "-c",
            "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done",
        )
        for name in self._names:
            await self._connect(name)
        if self._packets:
            tuntap = ("ip", "-n", self._hub, "tuntap", "add", "dev", _DEVICE, "mode", "tun")
            await run(*tuntap)
            await run("ip", "-n", self._hub, "link", "set", _DEVICE, "up")
            await run(
                "ip", "-n", self._hub, "route", "add", "default", "dev", _DEVICE, "table", _TABLE
            )
            self._packets.start()

        await self._until_up()

    async def close(self) -> None:
        """Remove them; processes in them must have ended."""
        if self._packets:
            self._packets.stop()
        for namespace in (*map(self._namespace, self._names), self._hub):
            with contextlib.suppress(RuntimeError):  # it was not created
                await run("ip", "netns", "del", namespace)

    def enter(self, name: str) -> list[str]:
        """The beginning of a command that runs in a process's namespace."""
        return ["nsenter", f"--net=/run/netns/{self._namespace(name)}"]

    def listens(self, name: str) -> tuple[str, int]:
        """Host and port at which a process listens."""
        return self._address(name), _PORTS[name]

    def redis(self, name: str) -> tuple[str, int]:  # noqa: ARG002 - the same for all
        """Host and port of Redis."""
        return self.listens(REDIS)

    @asynccontextmanager
    async def cut(self, pairs: Sequence[Pair]) -> AsyncIterator[None]:
        """Let nothing through in these directions."""
        async with contextlib.AsyncExitStack() as rules:
            for source, target in pairs:
                rule = self._rule(next(self._cuts), source, target, "blackhole")
                await rules.enter_async_context(rule)
            yield

    @asynccontextmanager
    async def disturb(self, pairs: Sequence[Pair], disturbance: Disturbance) -> AsyncIterator[None]:
        """Disturb these directions."""
        assert self._packets is not None
        addresses = [[self._address(source), self._address(target)] for source, target in pairs]
        async with contextlib.AsyncExitStack() as rules:
            number = next(self._disturbances)
            self._packets.tell({"add": number, "pairs": addresses, **disturbance.as_dict()})
            rules.callback(self._packets.tell, {"remove": number})
            for source, target in pairs:
                priority = next(self._disturbances)
                rule = self._rule(priority, source, target, "lookup", _TABLE)
                await rules.enter_async_context(rule)
            yield

    @asynccontextmanager
    async def _rule(
        self, priority: int, source: str, target: str, *action: str
    ) -> AsyncIterator[None]:
        place = ("pref", str(priority), "iif", f"v-{source}", "to", self._address(target))
        await run("ip", "-n", self._hub, "rule", "add", *place, *action)
        try:
            yield
        finally:
            await run("ip", "-n", self._hub, "rule", "del", "pref", str(priority))

    async def _until_up(self) -> None:
        """Wait for the links' carriers: until then, what is sent is lost as if to a dead host."""
        give_up_at = time.monotonic() + _UP_S
        for name in self._names:
            while " UP " not in await run("ip", "-n", self._namespace(name), "-br", "link"):
                if time.monotonic() > give_up_at:
                    raise RuntimeError(f"the link of {name} does not come up")
                await asyncio.sleep(0.05)

    async def _connect(self, name: str) -> None:
        namespace, outer = self._namespace(name), f"v-{name}"
        subnet = self._subnet(name)
        await run("ip", "netns", "add", namespace)
        await run(
            *("ip", "-n", self._hub, "link", "add", outer, "type", "veth"),
            *("peer", "name", "eth0", "netns", namespace),
        )
        await run("ip", "-n", self._hub, "addr", "add", f"{subnet}.1/24", "dev", outer)
        await run("ip", "-n", self._hub, "link", "set", outer, "up")
        within = ("nsenter", f"--net=/run/netns/{self._hub}", "sh", "-c")
        await run(*within, f"echo 0 >/proc/sys/net/ipv4/conf/{outer}/rp_filter")
        await run("ip", "-n", namespace, "addr", "add", f"{subnet}.2/24", "dev", "eth0")
        await run("ip", "-n", namespace, "link", "set", "eth0", "up")
        await run("ip", "-n", namespace, "link", "set", "lo", "up")
        await run("ip", "-n", namespace, "route", "add", "default", "via", f"{subnet}.1")

    @property
    def _hub(self) -> str:
        return f"{self._prefix}-router"

    def _namespace(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _subnet(self, name: str) -> str:
        return f"10.231.{self._names.index(name) + 1}"

    def _address(self, name: str) -> str:
        return f"{self._subnet(name)}.2"
