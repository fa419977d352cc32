"""The floor: a bare scatter-gather over raw hiredis links, in the shape that Hedgerow has.

One list a shard for requests, one variadic RPUSH a list and turn of the loop, all of a turn in one
write; replies by Pub/Sub on one channel. No deadline, no outcomes, no breaker, no merge, no
reconnecting: what is left is what the sockets, the server, the parser and MessagePack cost.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import hiredis
import msgpack

from bench.harness.floor_worker import CHANNEL, queue_of
from bench.harness.server import Server
from hedgerow.common.redis.connection import pack

NUM_SHARDS = 8
SHARDS_A_WORKER = 2
_QUERY = "a query as long as most are"


class _Wire(asyncio.Protocol):
    """A connection; each reply that arrives on it is handed to a function."""

    def __init__(self) -> None:
        self.on_reply: Callable[[Any], None] = lambda _reply: None
        self._reader = hiredis.Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        self.write = stream.write
        self.close = stream.close

    def data_received(self, data: bytes) -> None:
        reader, on_reply = self._reader, self.on_reply
        reader.feed(data)
        while (reply := reader.gets()) is not False:
            on_reply(reply)


class Floor:
    """Asks every shard, and gathers the replies.

    Attributes:
        worker_pids: the echoing workers' processes, whose CPU is counted.
    """

    def __init__(self, push: _Wire, replies: _Wire, worker_pids: list[int], query: str) -> None:
        self.worker_pids = worker_pids
        self._query = query
        self._push = push
        self._loop = asyncio.get_running_loop()
        self._next_id = 0
        self._asked: dict[int, tuple[list[Any], asyncio.Future[None]]] = {}  # id → replies, future
        self._waiting: list[bytes] = []
        replies.on_reply = self._on_message

    async def ask(self) -> None:
        """One query: a request to each shard, a reply from each."""
        query_id = self._next_id = self._next_id + 1
        done = self._loop.create_future()
        self._asked[query_id] = ([], done)
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(msgpack.packb((query_id, self._query)))
        await done

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        pushes = [pack(b"RPUSH", queue_of(shard), *waiting) for shard in range(NUM_SHARDS)]
        self._push.write(b"".join(pushes))

    def _on_message(self, message: list[Any]) -> None:
        if message[0] != b"message":
            return
        asked = self._asked
        for query_id, ids, scores in msgpack.unpackb(message[2]):
            gathered, done = asked[query_id]
            gathered.append((ids, scores))
            if len(gathered) == NUM_SHARDS:
                del asked[query_id]
                done.set_result(None)


@contextlib.asynccontextmanager
async def run_floor(
    server: Server,
    *,
    is_batched: bool,
    shards_a_worker: int = SHARDS_A_WORKER,
    query: str = _QUERY,
) -> AsyncIterator[Floor]:
    """Start the workers and connect the asking side; stop all at the end of the block.

    Args:
        server: where the lists are.
        is_batched: one PUBLISH for all replies of a pull, or one for each request.
        shards_a_worker: how many shards a process serves; 1 makes eight processes.
        query: the text that is sent with each request.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as started:
        workers = []
        for first in range(0, NUM_SHARDS, shards_a_worker):
            shards = ",".join(str(first + number) for number in range(shards_a_worker))
            command = (sys.executable, "-m", "bench.harness.floor_worker", server.socket, shards)
            worker = started.enter_context(
                subprocess.Popen([*command, "1" if is_batched else "0"])  # noqa: ASYNC220 - at the start
            )
            started.callback(worker.terminate)
            workers.append(worker.pid)
        _, push = await loop.create_unix_connection(_Wire, server.socket)
        _, replies = await loop.create_unix_connection(_Wire, server.socket)
        started.callback(push.close)
        started.callback(replies.close)
        replies.write(pack(b"SUBSCRIBE", CHANNEL))
        floor = Floor(push, replies, workers, query)
        await floor.ask()  # the workers are there once it is answered
        yield floor
