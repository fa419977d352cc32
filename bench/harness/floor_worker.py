"""The floor's worker: it pops from its lists and echoes small replies, blocking all the while.

    python -m bench.harness.floor_worker SOCKET SHARDS BATCHED

It pops up to 64 requests, and sends the replies and the next pop in one write.
"""

import contextlib
import signal
import socket
import sys
from typing import Any

import hiredis
import msgpack

from hedgerow.common.redis.commands import pack

CHANNEL = b"floor:replies"
IDS = [f"document-{number}" for number in range(10)]
SCORES = [12.5 - number / 7 for number in range(10)]
MAX_BATCH = 64


def queue_of(shard: int) -> bytes:
    """The list of a shard's requests."""
    return b"floor:queue:%d" % shard


def serve(path: str, shards: list[int], *, is_batched: bool) -> None:
    """Echo until killed.

    Args:
        path: the server's Unix socket.
        shards: whose lists it pops from.
        is_batched: whether all replies of a pull share one PUBLISH, or each has its own.
    """
    reader = hiredis.Reader()
    queues = [queue_of(shard) for shard in shards]
    # The server may end during a write, and the worker ends with it.
    with socket.socket(socket.AF_UNIX) as server, contextlib.suppress(ConnectionError):
        server.connect(path)
        replies = b""
        while True:
            # BLMPOP serves the first list that is not empty: the one just served goes to the end.
            pop = pack(b"BLMPOP", 0, len(queues), *queues, b"LEFT", b"COUNT", MAX_BATCH)
            server.sendall(replies + pop)
            key, requests = next_list(server, reader)
            queues.remove(key)
            queues.append(key)
            answers = [(msgpack.unpackb(request)[0], IDS, SCORES) for request in requests]
            messages = [answers] if is_batched else [[answer] for answer in answers]
            replies = b"".join(
                pack(b"PUBLISH", CHANNEL, msgpack.packb(message)) for message in messages
            )


def next_list(server: socket.socket, reader: hiredis.Reader) -> list[Any]:
    """Wait for the next reply that is a list; other replies say how many received a message."""
    while True:
        while (reply := reader.gets()) is not False:
            if isinstance(reply, list):
                return reply
        received = server.recv(65536)
        if not received:
            raise SystemExit  # the server has ended
        reader.feed(received)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    path, shards, is_batched = sys.argv[1:]
    serve(path, [int(shard) for shard in shards.split(",")], is_batched=is_batched == "1")
