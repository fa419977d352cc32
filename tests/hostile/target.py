"""What an attack gets: the gateway's address, and ways to send requests."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.hostile.cluster import COLLECTION, Cluster
from tests.hostile.sockets import Answer, Connection, request


@dataclass(frozen=True, slots=True)
class Target:
    """The cluster under attack.

    Attributes:
        rng: the only source of chance.
        is_full: whether the attack has its full strength, or a share that fits the ring's minutes.
        folder: for files of the attack's own.
    """

    cluster: Cluster
    rng: Random
    is_full: bool
    folder: Path

    @property
    def host(self) -> str:
        """The address as a Host header names it."""
        return f"{self.cluster.host}:{self.cluster.port}"

    def connect(self, *, source: str | None = None) -> Connection:
        """A connection, from the attacker's address unless another is given."""
        cluster = self.cluster
        if source is None:
            return Connection(cluster.host, cluster.port, tls=cluster.tls)
        return Connection(cluster.host, cluster.port, source=source, tls=cluster.tls)

    def request(
        self,
        method: str,
        path: str,
        body: Any = b"",
        headers: Iterable[tuple[str, str]] = (),
    ) -> bytes:
        """A well-formed request; a body that is not bytes becomes JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return request(method, path, raw, host=self.host, headers=headers)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = b"",
        headers: Iterable[tuple[str, str]] = (),
        timeout_s: float = 20.0,
    ) -> Answer:
        """Ask on a connection of its own; status 0 when there is no answer in time."""
        try:
            async with self.connect() as connection:
                return await self.ask_on(
                    connection, self.request(method, path, body, headers), timeout_s
                )
        except OSError:
            return Answer(0)

    async def ask_on(self, connection: Connection, raw: bytes, timeout_s: float) -> Answer:
        """Ask on a connection; status 0 when there is no answer in time."""
        await connection.send(raw, timeout_s)
        found = await connection.answers(1, timeout_s)
        return found[0] if found else Answer(0)

    async def search(self, query: str, **body: Any) -> Answer:
        """Search the normal client's collection."""
        wanted = {"query": query, "deadline_ms": 300, **body}
        return await self.ask("POST", f"/v1/collections/{COLLECTION}/search", wanted)

    async def load(
        self,
        collection: str,
        lines: Iterable[bytes],
        *,
        wait: str = "applied",
        timeout_s: float = 30.0,
        max_bytes: int = 1_000_000_000,
    ) -> Answer:
        """Load lines into a collection; the lines that could not be sent in time are left out."""
        head = (
            f"POST /v1/collections/{collection}/documents?wait={wait} HTTP/1.1\r\n"
            f"Host: {self.host}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ).encode()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        try:
            async with self.connect() as connection:
                is_sending = await connection.send(head)
                for line in lines:
                    left_s = ends_at - loop.time()
                    if not is_sending or left_s <= 0 or connection.num_sent > max_bytes:
                        break
                    is_sending = await connection.send(b"%x\r\n%b\r\n" % (len(line), line), left_s)
                if is_sending:
                    await connection.send(b"0\r\n\r\n")
                found = await connection.answers(1, max(5.0, ends_at - loop.time()))
                return found[0] if found else Answer(0)
        except OSError:
            return Answer(0)

    @asynccontextmanager
    async def own_collection(
        self, name: str, fields: Mapping[str, str] | None = None
    ) -> AsyncIterator[str]:
        """A collection for the block, dropped afterwards."""
        path = f"/v1/collections/{name}"
        await self.ask("PUT", path, {"fields": dict(fields)} if fields else b"")
        try:
            yield name
        finally:
            await self.ask("DELETE", path)
