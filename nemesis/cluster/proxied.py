"""A network for machines without namespaces: a TCP proxy between each process and Redis.

The proxies (`proxy`) hold up bytes instead of packets: a direction that is cut stalls, and what was
sent meanwhile arrives afterwards, as after the retransmissions of a real partition. Loss and
reordering below TCP cannot be had this way.
"""

import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench.harness.ports import free_ports
from nemesis.cluster.links import Disturbance, Pair
from nemesis.commands import Helper
from nemesis.layout import GATEWAYS, PROCESSES, REDIS, SPARE, WORKERS

_HOST = "127.0.0.1"


class Proxied:
    """Proxies of this run, on the loopback interface."""

    is_direct = False

    def __init__(self) -> None:
        """Choose free ports."""
        behind = (*GATEWAYS, *WORKERS, SPARE)
        ports = free_ports(len(PROCESSES) + len(behind))
        self._listens = dict(zip(PROCESSES, ports, strict=False))
        self._proxies = dict(zip(behind, ports[len(PROCESSES) :], strict=True))
        self._numbers = itertools.count()
        routes = [f"{name}={port}" for name, port in self._proxies.items()]
        self._proxy = Helper("nemesis.cluster.proxy", str(self._listens[REDIS]), *routes)

    async def open(self) -> None:
        """Start the proxies."""
        self._proxy.start()

    async def close(self) -> None:
        """End them."""
        self._proxy.stop()

    def enter(self, name: str) -> list[str]:  # noqa: ARG002 - all are in the machine's own network
        """Nothing: a process runs where this one does."""
        return []

    def listens(self, name: str) -> tuple[str, int]:
        """Host and port at which a process listens."""
        return _HOST, self._listens[name]

    def redis(self, name: str) -> tuple[str, int]:
        """Host and port of a process's own proxy."""
        return _HOST, self._proxies.get(name, self._listens[REDIS])

    @asynccontextmanager
    async def cut(self, pairs: Sequence[Pair]) -> AsyncIterator[None]:
        """Stall these directions."""
        number = next(self._numbers)
        self._proxy.tell({"add": number, "pairs": pairs, "is_cut": True, "delay_ms": 0.0})
        with contextlib.ExitStack() as ending:
            ending.callback(self._proxy.tell, {"remove": number})
            yield

    @asynccontextmanager
    async def disturb(self, pairs: Sequence[Pair], disturbance: Disturbance) -> AsyncIterator[None]:
        """Delay these directions; nothing else of a disturbance can be had."""
        number = next(self._numbers)
        delay_ms = disturbance.delay_ms
        self._proxy.tell({"add": number, "pairs": pairs, "is_cut": False, "delay_ms": delay_ms})
        with contextlib.ExitStack() as ending:
            ending.callback(self._proxy.tell, {"remove": number})
            yield
