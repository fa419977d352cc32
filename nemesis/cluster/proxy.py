"""`python -m nemesis.cluster.proxy REDIS_PORT NAME=PORT …`: proxies that stall and delay.

Commands are lines of JSON on standard input: `{"add": number, "pairs": [[source, target], …],
"is_cut": …, "delay_ms": …}`, where a name is that of a process, or `redis`; and
`{"remove": number}`.
"""

import asyncio
import contextlib
import json
import sys
from typing import Any

from hedgerow.common.lifecycle import stop_on_signals
from nemesis.layout import REDIS


class Stalls:
    """Which directions are held up."""

    def __init__(self) -> None:
        """None is."""
        self._all: dict[int, dict[str, Any]] = {}
        self._changed = asyncio.Condition()

    async def tell(self, command: dict[str, Any]) -> None:
        """Take a command."""
        async with self._changed:
            if "add" in command:
                self._all[command["add"]] = command
            else:
                self._all.pop(command["remove"], None)
            self._changed.notify_all()

    async def until_open(self, source: str, target: str) -> None:
        """Wait while the direction is cut."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: not any(one["is_cut"] for one in self._of(source, target))
            )

    def delay_s(self, source: str, target: str) -> float:
        """By how much the direction is delayed."""
        delay_ms: float = sum(one["delay_ms"] for one in self._of(source, target))
        return delay_ms / 1e3

    def _of(self, source: str, target: str) -> list[dict[str, Any]]:
        return [one for one in self._all.values() if [source, target] in one["pairs"]]


class Proxy:
    """The proxy of one process."""

    def __init__(self, name: str, redis_port: int, stalls: Stalls) -> None:
        """Forward what `name` sends to Redis, and back."""
        self._name = name
        self._redis_port = redis_port
        self._stalls = stalls

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        try:
            server = await asyncio.open_connection("127.0.0.1", self._redis_port)
        except OSError:
            writer.close()
            return
        async with asyncio.TaskGroup() as ways:
            ways.create_task(self._forward(reader, server[1], self._name, REDIS))
            ways.create_task(self._forward(server[0], writer, REDIS, self._name))

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        source: str,
        target: str,
    ) -> None:
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._read(reader, held, source, target))
            parts.create_task(self._write(writer, held, source, target))

    async def _read(
        self,
        reader: asyncio.StreamReader,
        held: asyncio.Queue[tuple[float, bytes]],
        source: str,
        target: str,
    ) -> None:
        now = asyncio.get_running_loop().time
        received = b"more"
        while received:
            try:
                received = await reader.read(65_536)
            except OSError:
                received = b""
            await held.put((now() + self._stalls.delay_s(source, target), received))

    async def _write(
        self,
        writer: asyncio.StreamWriter,
        held: asyncio.Queue[tuple[float, bytes]],
        source: str,
        target: str,
    ) -> None:
        now = asyncio.get_running_loop().time
        while True:
            due, piece = await held.get()
            await asyncio.sleep(max(0.0, due - now()))
            await self._stalls.until_open(source, target)
            if not piece:
                break
            with contextlib.suppress(OSError):
                writer.write(piece)
                await writer.drain()
        writer.close()


async def _serve(redis_port: int, routes: dict[str, int]) -> None:
    stalls = Stalls()
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with contextlib.AsyncExitStack() as servers:
        for name, port in routes.items():
            proxy = Proxy(name, redis_port, stalls)
            server = await asyncio.start_server(proxy.connect, "127.0.0.1", port)
            await servers.enter_async_context(server)
        stopped = asyncio.Event()
        with stop_on_signals(stopped.set):
            reading = asyncio.create_task(_read_commands(commands, stalls))
            ending = asyncio.create_task(stopped.wait())
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            ending.cancel()
            sys.stdout.flush()


async def _read_commands(commands: asyncio.StreamReader, stalls: Stalls) -> None:
    while line := await commands.readline():
        await stalls.tell(json.loads(line))


def main() -> None:
    """Forward until standard input ends."""
    redis_port, *routes = sys.argv[1:]
    ports = {name: int(port) for name, _, port in (route.partition("=") for route in routes)}
    asyncio.run(_serve(int(redis_port), ports))


if __name__ == "__main__":
    main()
