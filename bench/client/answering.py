"""A server that answers every request with one recorded answer; uses only the standard library.

`python -m bench.client.answering` prints its port, and ends when its standard input does.
"""

import asyncio
import sys
from pathlib import Path
from typing import cast

RECORDED = Path(__file__).with_name("answer.json")


class Answering(asyncio.Protocol):
    """One connection; requests have a body whose length their header gives."""

    def __init__(self, answer: bytes) -> None:
        """Send `answer`, a whole HTTP answer, for each request."""
        self._answer = answer
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport's `write`."""
        self._write = cast("asyncio.Transport", transport).write

    def data_received(self, data: bytes) -> None:
        """Answer each complete request."""
        self._received += data
        while True:
            head, blank, rest = self._received.partition(b"\r\n\r\n")
            if not blank:
                return
            _, _, length = head.lower().partition(b"content-length:")
            wanted = int(length.partition(b"\r\n")[0] or 0)
            if len(rest) < wanted:
                return
            self._received = rest[wanted:]
            self._write(self._answer)


async def main() -> None:
    """Answer until standard input ends."""
    body = RECORDED.read_bytes().strip()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(head % len(body) + body), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
