"""What the client sends again, and what it never sends twice, when a slot goes to another node.

The nodes are scripted: a real one can hardly be made to give a slot away between two commands.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import hiredis
import pytest

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.client import MAX_ATTEMPTS, RedisClient
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.moving_primary import MovingPrimary
from hedgerow.common.settings.redis import RedisSettings
from tests.support.garbage import left_to_collector

MOVED = b"-MOVED 7 127.0.0.1:1\r\n"
SOON_S = 0.001  # the longest pause between two attempts
WRITES = [("XADD", "log", "*", "op", "1"), ("XLEN", "log"), ("XADD", "log", "*", "op", "2")]


class Nodes(MovingPrimary):
    """A slot's node, which is given the answers to its commands, and the commands it has got."""

    def __init__(self, answers: Iterable[bytes], port: int = 0) -> None:
        super().__init__(Endpoint.of(RedisSettings()))
        self.port = port
        self.got: list[str] = []
        self.fails_over = False
        self._answers = iter(answers)

    async def find(self) -> Endpoint:
        """Always here: the answers say what the slot's present node would."""
        return self.at("127.0.0.1", self.port)

    def doubt(self, version: int) -> None:
        """Connections leave, as they do from a node that has answered MOVED."""
        if version == self.version:
            self._leave()

    async def pause(self, duration_s: float) -> None:
        """Another attempt follows at once, perhaps after a failover."""
        if self.fails_over:
            self._has_failed_over()

    async def close(self) -> None:
        """Nothing to close."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the commands of a connection; one that has no more answers closes it."""
        parser = hiredis.Reader(encoding="utf-8")
        while data := await reader.read(4096):
            parser.feed(data)
            while command := parser.gets():
                answer = self._answer(command)
                if answer is None:
                    writer.close()
                    return
                writer.write(answer)
        writer.close()

    def _answer(self, command: list[str]) -> bytes | None:
        if command[0] == "ROLE":
            return b"*1\r\n$6\r\nmaster\r\n"
        if command[0] in ("CLIENT", "SELECT"):
            return b"+OK\r\n"
        self.got.append(" ".join(command))
        return next(self._answers, None)


@asynccontextmanager
async def client_of(*answers: bytes) -> AsyncIterator[tuple[RedisClient, Nodes]]:
    """A client of a slot whose nodes give these answers, and then close."""
    nodes = Nodes(answers)
    async with await asyncio.start_server(nodes.serve, "127.0.0.1", 0) as server:
        nodes.port = server.sockets[0].getsockname()[1]
        client = RedisClient(RedisSettings(), nodes)
        try:
            yield client, nodes
        finally:
            await client.close()


async def test_commands_before_the_one_that_moved_are_not_sent_again() -> None:
    """They have been carried out, so that a write that may not be repeated is done once."""
    async with client_of(b"$3\r\n1-0\r\n", MOVED, MOVED, b":1\r\n", b"$3\r\n2-0\r\n") as at:
        client, nodes = at
        assert await client.pipeline(WRITES, retry=False) == [b"1-0", 1, b"2-0"]
        assert nodes.got == [
            "XADD log * op 1",
            "XLEN log",
            "XADD log * op 2",
            "XLEN log",
            "XADD log * op 2",
        ]


async def test_commands_about_the_connection_follow_each_attempt() -> None:
    """WAIT says nothing about another server, so what it said before does not count."""
    answers = (b"$3\r\n1-0\r\n", MOVED, b":0\r\n", b":1\r\n", b":2\r\n")
    async with client_of(*answers) as (client, nodes):
        found = await client.counted_pipeline(WRITES[:2], retry=False, last=[("WAIT", "1", "100")])
        assert found == (0, [b"1-0", 1, 2])
        assert nodes.got[2:] == ["WAIT 1 100", "XLEN log", "WAIT 1 100"]


async def test_commands_about_the_connection_follow_one_that_is_sent_elsewhere() -> None:
    """While its slot is being moved, a write counts as confirmed only where it was carried out."""
    target = Nodes([b"+OK\r\n", b"$3\r\n1-0\r\n", b":0\r\n"])
    async with await asyncio.start_server(target.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        ask = f"-ASK 7 127.0.0.1:{port}\r\n".encode()
        async with client_of(ask, b":1\r\n", b":2\r\n") as (client, _):
            wait = [("WAIT", "1", "100")]
            found = await client.counted_pipeline(WRITES[:2], retry=False, last=wait)
            assert found == (0, [b"1-0", 1, 0])
            assert target.got == ["ASKING", "XADD log * op 1", "WAIT 1 100"]


async def test_failovers_count_from_the_first_command_that_was_done() -> None:
    """Another server may have taken over between the attempts, and may lack the first write."""
    async with client_of(b"$3\r\n1-0\r\n", MOVED, b":1\r\n") as (client, nodes):
        nodes.fails_over = True
        failovers, replies = await client.counted_pipeline(WRITES[:2], retry=False)
        assert replies == [b"1-0", 1]
        assert (failovers, nodes.failovers) == (0, 1)


async def test_nodes_may_take_long_to_agree() -> None:
    """A command that was not carried out is sent until the time is over, not a few times only."""
    num_moved = 2 * MAX_ATTEMPTS
    async with client_of(*[MOVED] * num_moved, b":5\r\n") as (client, nodes):
        assert await client.execute("XLEN", "log", retry=False) == 5
        assert len(nodes.got) == num_moved + 1


async def test_a_write_without_an_answer_is_not_sent_again() -> None:
    """It may have been carried out; the caller knows what a second one would do."""
    async with client_of(b"$3\r\n1-0\r\n", MOVED) as (client, nodes):
        with pytest.raises(RedisUnavailableError):
            await client.pipeline(WRITES[:2], retry=False)
        assert nodes.got == ["XADD log * op 1", "XLEN log", "XLEN log"]


async def test_a_server_at_a_fixed_address_has_no_other_nodes() -> None:
    """If it is a node of a Redis Cluster by mistake, its error is shown, not a timeout."""
    node = Nodes([MOVED] * MAX_ATTEMPTS)
    async with await asyncio.start_server(node.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"redis://127.0.0.1:{port}/0"
        client = RedisClient(RedisSettings(url=url, reconnect_max_s=SOON_S))
        try:
            with pytest.raises(RedisUnavailableError, match="MOVED"):
                await client.execute("XLEN", "log")
        finally:
            await client.close()


async def test_a_command_that_fails_leaves_no_cycle() -> None:
    """While Redis is away, hundreds fail each minute: none waits for the garbage collector."""
    client = RedisClient(RedisSettings(url="redis://127.0.0.1:1/0", reconnect_max_s=SOON_S))

    async def fail() -> None:
        with suppress(RedisUnavailableError):
            await client.execute("GET", "x")
        await asyncio.sleep(0)

    await fail()
    with left_to_collector() as left:
        await fail()
    assert [one for one in left if isinstance(one, BaseException)] == []
    await client.close()
