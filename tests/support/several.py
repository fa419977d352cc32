"""Several gateway processes on one port, and clients that each keep to one of them."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any, Self

import httpx

from tests.support.up import Caller


class Client:
    """A caller with one connection, and therefore one gateway process, until that is lost.

    Attributes:
        gateway: the id of the process that its connection leads to.
        statuses: the HTTP statuses of its searches, each with how many there were.
        num_lost: searches that ended without an answer.
    """

    def __init__(self, url: str) -> None:
        """Ask the gateway at `url`."""
        self._caller = Caller(url)
        self.gateway = ""
        self.statuses: Counter[int] = Counter()
        self.num_lost = 0

    async def connect(self) -> Self:
        """Open the connection."""
        self.gateway = (await self._caller.http.get("/v1/status")).json()["gateway"]["id"]
        return self

    async def search_until(self, stopped: asyncio.Event) -> None:
        """Search again and again."""
        while not stopped.is_set():
            try:
                answer = await self._caller.search("trees", "amber")
            except httpx.TransportError:
                self.num_lost += 1
                continue
            self.statuses[answer.status_code] += 1

    async def close(self) -> None:
        """Close the connection."""
        await self._caller.http.aclose()


async def gateways(url: str) -> list[dict[str, Any]]:
    """All live gateways, as one of them tells."""
    async with Caller(url) as caller:
        found: list[dict[str, Any]] = (await caller.http.get("/v1/status")).json()["gateways"]
        return found


def own_urls(port: int, num: int) -> Iterator[str]:
    """The addresses at which each process alone is reached."""
    return (f"http://127.0.0.1:{port + number}" for number in range(num))
