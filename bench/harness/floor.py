"""The floor: a bare scatter-gather over raw hiredis connections, in the same shape as Hedgerow's.

Requests wait in one list a shard; all requests of a turn of the loop leave in one write, with one
variadic RPUSH for each list; replies come by Pub/Sub on one channel. There is no deadline, outcome,
breaker, merge or reconnecting: what remains is the cost of sockets, server, parser and MessagePack.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import hiredis
import msgpack

from bench.harness.floor_worker import CHANNEL, queue_of
from bench.harness.server import Server
from hedgerow.common.redis.commands import pack

NUM_SHARDS = 8
SHARDS_A_WORKER = 2
_QUERY = "a query as long as most are"


class _Wire(asyncio.Protocol):
    """A connection; each reply that arrives is passed to a function."""

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
        worker_pids: the processes of the echoing workers, whose CPU time is counted.
    """

    def __init__(
        self,
        send: Callable[[list[bytes]], None],
        worker_pids: Sequence[int] = (),
        query: str = _QUERY,
        *,
        is_coalesced: bool = True,
    ) -> None:
        """Ask `query` by `send`, which is given requests that go to every shard.

        The requests of all queries of a turn of the loop leave together if `is_coalesced`.
        """
        self.worker_pids = list(worker_pids)
        self._send = send
        self._query = query
        self._is_coalesced = is_coalesced
        self._loop = asyncio.get_running_loop()
        self._next_id = 0
        self._asked: dict[int, tuple[list[Any], asyncio.Future[None]]] = {}  # id → replies, future
        self._waiting: list[bytes] = []

    async def ask(self) -> None:
        """Ask one query: a request to each shard, a reply from each."""
        query_id = self._next_id = self._next_id + 1
        done = self._loop.create_future()
        self._asked[query_id] = ([], done)
        request = msgpack.packb((query_id, self._query))
        if self._is_coalesced:
            if not self._waiting:
                self._loop.call_soon(self._flush)
            self._waiting.append(request)
        else:
            self._send([request])
        await done

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._send(waiting)

    def on_replies(self, message: bytes) -> None:
        """Take the replies of one message."""
        asked = self._asked
        for query_id, ids, scores in msgpack.unpackb(message):
            gathered, done = asked[query_id]
            gathered.append((ids, scores))
            if len(gathered) == NUM_SHARDS:
                del asked[query_id]
                done.set_result(None)


@contextlib.contextmanager
def run_workers(commands: Iterable[Sequence[str]]) -> Iterator[list[int]]:
    """Start a process for each command line of Python; ends them at the end of the block."""
    with contextlib.ExitStack() as started:
        pids = []
        for command in commands:
            worker = started.enter_context(subprocess.Popen([sys.executable, *command]))
            started.callback(worker.terminate)
            pids.append(worker.pid)
        yield pids


@contextlib.asynccontextmanager
async def run_floor(
    server: Server,
    *,
    is_batched: bool,
    shards_a_worker: int = SHARDS_A_WORKER,
    query: str = _QUERY,
) -> AsyncIterator[Floor]:
    """Start the workers and connect to them; everything is stopped at the end of the block.

    Args:
        server: which holds the lists.
        is_batched: whether all replies of a pull share one PUBLISH, or each has its own.
        shards_a_worker: how many shards each process serves; 1 makes eight processes.
        query: the text that is sent with each request.
    """
    loop, command = asyncio.get_running_loop(), ("-m", "bench.harness.floor_worker", server.socket)
    layout = [
        ",".join(map(str, range(first, first + shards_a_worker)))
        for first in range(0, NUM_SHARDS, shards_a_worker)
    ]
    with run_workers((*command, shards, str(int(is_batched))) for shards in layout) as workers:
        _, push = await loop.create_unix_connection(_Wire, server.socket)
        _, replies = await loop.create_unix_connection(_Wire, server.socket)

        def send(requests: list[bytes]) -> None:
            pushes = [pack(b"RPUSH", queue_of(shard), *requests) for shard in range(NUM_SHARDS)]
            push.write(b"".join(pushes))

        def on_message(message: list[Any]) -> None:
            if message[0] == b"message":
                floor.on_replies(message[2])

        floor = Floor(send, workers, query)
        replies.on_reply = on_message
        replies.write(pack(b"SUBSCRIBE", CHANNEL))
        try:
            await floor.ask()  # the workers are there once it is answered
            yield floor
        finally:
            push.close()
            replies.close()
