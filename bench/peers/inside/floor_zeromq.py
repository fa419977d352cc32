"""Floor: ZeroMQ without a broker, a ROUTER that asks and eight DEALERs that echo."""

import asyncio
import pickle
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import zmq

from bench.harness.load import Run
from bench.harness.pipe import Setting
from bench.peers.inside.serving import asking, serve
from bench.peers.inside.work import NUM_SHARDS, answer, check, next_query
from bench.peers.inside.workers import of_module, run_workers

_ENVELOPE = [b"shard-%d" % shard for shard in range(NUM_SHARDS)]
SETTINGS = (
    Setting("transport", "ipc://", "the cheapest transport between processes of one host"),
    Setting(
        "reading",
        "the socket's ZMQ_FD in the event loop, emptied without blocking",
        "ZMQ_FD is edge-triggered: ZMQ_EVENTS has to be asked after each read and each send",
    ),
    Setting("ZMQ_SNDHWM, ZMQ_RCVHWM", "0", "no limit, since a ROUTER drops what is above it"),
    Setting("ZMQ_ROUTER_MANDATORY", "1", "raises where a worker is not there, instead of dropping"),
    Setting("ZMQ_LINGER", "0", "closing does not wait"),
)


class Client:
    """Asks every shard, and gathers the replies."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._next_id = 0
        self._asked: dict[int, tuple[dict[int, Any], asyncio.Future[None]]] = {}
        self._is_reading = False
        self._loop.add_reader(socket.getsockopt(zmq.FD), self._read)

    async def ask(self) -> None:
        """One query: a message to each shard, one from each."""
        self._next_id += 1
        replies: dict[int, Any] = {}
        done = self._loop.create_future()
        self._asked[self._next_id] = replies, done
        message = pickle.dumps((self._next_id, next_query()), -1)
        for envelope in _ENVELOPE:
            self._socket.send_multipart((envelope, message), zmq.NOBLOCK)
        if not self._is_reading:  # a send may have used up the edge that a reply made
            self._is_reading = True
            self._loop.call_soon(self._read)
        await done
        check(replies[shard] for shard in range(NUM_SHARDS))

    def _read(self) -> None:
        self._is_reading = False
        receive = self._socket.recv_multipart
        while self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            _, message = receive(zmq.NOBLOCK)
            query_id, shard, reply = pickle.loads(message)
            replies, done = self._asked[query_id]
            replies[shard] = reply
            if len(replies) == NUM_SHARDS:
                del self._asked[query_id]
                done.set_result(None)


@asynccontextmanager
async def connect(_: str) -> AsyncIterator[Run]:
    """A client in this process and eight echoing workers."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-peer-") as folder:
        address = f"ipc://{Path(folder) / 'router'}"
        with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
            socket.set_hwm(0)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # raises while a worker is not there yet
            socket.bind(address)
            with run_workers(of_module(__spec__.name, address)):
                yield asking(Client(socket).ask)


def work(address: str, shard: int) -> None:
    """Echo until killed."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set_hwm(0)
        socket.setsockopt(zmq.IDENTITY, _ENVELOPE[shard])
        socket.connect(address)
        while True:
            query_id, query = pickle.loads(socket.recv())
            socket.send(pickle.dumps((query_id, shard, answer(shard, query)), -1))


if __name__ == "__main__":
    serve(connect, ("pyzmq",), SETTINGS, work)
