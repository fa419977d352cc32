"""The network of the asyncio client: a connection for each request in flight."""

import asyncio
import math
import select
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from hedgerow.gateway.client.calls import Call
from hedgerow.gateway.client.link import KEEPALIVE_S, Link
from hedgerow.gateway.client.network.failures import Failures, Phase
from hedgerow.gateway.client.network.forks import follow_forks
from hedgerow.gateway.client.network.idle import IdleConnections
from hedgerow.gateway.client.network.patience import share_s
from hedgerow.gateway.client.network.requests import LAST_CHUNK, RequestWriter, chunk
from hedgerow.gateway.client.network.response import Response, ResponseReader
from hedgerow.gateway.client.reply import Reply


class AsyncNetwork:
    """As many connections as there are requests in flight; belongs to one event loop."""

    def __init__(self, link: Link) -> None:
        """Connect at the first request."""
        self._link = link
        self._writer = RequestWriter(link.address, link.token)
        self._ssl = link.ssl_context()
        self._idle: IdleConnections[_Connection] = IdleConnections(KEEPALIVE_S)
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        follow_forks(self)

    async def send(self, call: Call[Any], content: AsyncIterator[bytes] | None = None) -> Reply:
        """Send a call, with `content` as its body if given, and return the reply.

        Raises:
            UnavailableError: no gateway answers in time.
            RuntimeError: another event loop has requests of this client.
        """
        timeout_s = self._link.timeout_s(call)
        self._enter_loop()
        connection = self._take() or await self._connect()
        try:
            if content is None:
                response = await connection.exchange(self._writer.whole(call), timeout_s)
            else:
                response = await connection.upload(self._writer.chunked(call), content, timeout_s)
        except BaseException:
            connection.abort()  # a late answer would be taken for the next request's
            raise
        if connection.is_reusable and not self._is_closed:
            self._idle.put(connection, time.monotonic())
        else:
            connection.abort()
        return Reply(self._link.url, *response)

    async def close(self) -> None:
        """Close idle connections; the others close when their requests end."""
        self._is_closed = True
        self._enter_loop()
        for connection in self._idle.clear():
            await connection.close()

    def forget(self) -> None:
        """Drop the connections, which belong to a loop that has ended, or to another process.

        They are not closed, for which their loop would be needed; the interpreter does that.
        """
        self._idle.clear()
        self._loop = None

    def _enter_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            if not self._loop.is_closed():
                raise RuntimeError(
                    "an AsyncClient belongs to one event loop, and this one to another that is "
                    "not closed: create a client in each"
                )
            self.forget()
        self._loop = loop

    def _take(self) -> "_Connection | None":
        for old in self._idle.expire(time.monotonic()):
            old.abort()
        while (connection := self._idle.take()) is not None:
            if connection.is_reusable and connection.is_silent():
                return connection
            connection.abort()  # the server has closed it, or sent something unrequested
        return None

    async def _connect(self) -> "_Connection":
        with Failures(self._link.url, "connect"):
            async with asyncio.timeout(self._link.connect_timeout_s) as timeout:
                return await self._connect_to_any(timeout.when() or math.inf)

    async def _connect_to_any(self, ends_at: float) -> "_Connection":
        """Connect to the first address of the host that takes a connection."""
        address, loop = self._link.address, asyncio.get_running_loop()
        port, name = address.port, None if self._ssl is None else address.host
        addresses = await loop.getaddrinfo(address.host, port, type=socket.SOCK_STREAM)
        failures: list[OSError] = []
        try:
            for number, (*_, one) in enumerate(addresses):
                wait_s = share_s(ends_at - loop.time(), len(addresses) - number)
                try:
                    async with asyncio.timeout(wait_s):
                        _, connection = await loop.create_connection(
                            lambda: _Connection(loop, self._link.url),
                            str(one[0]),
                            port,
                            ssl=self._ssl,
                            server_hostname=name,
                        )
                        return connection
                except OSError as error:
                    failures.append(error)
            raise failures[0] if failures else OSError(f"{address.host} has no address")
        finally:
            failures.clear()  # or they would be in a cycle with this frame


class _Connection(asyncio.Protocol):
    """One connection, for one request at a time.

    A request waits only in `_until`, which every event of the connection wakes. The timer outlives
    a request, since setting and cancelling one each time would be a quarter of the cost.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, url: str) -> None:
        self._loop = loop
        self._url = url
        self._reader = ResponseReader()
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._lost = loop.create_future()
        self._poll: select.poll | None = None

    @property
    def is_reusable(self) -> bool:
        return self._reader.is_reusable

    def is_silent(self) -> bool:
        """Return whether nothing has arrived, not even EOF, that a busy loop has not seen yet."""
        return self._poll is None or not self._poll.poll(0)

    async def exchange(self, request: bytes, timeout_s: float) -> Response:
        self._reader.expect()
        self._transport.write(request)
        return await self._answer(timeout_s)

    async def upload(self, head: bytes, pieces: AsyncIterator[bytes], timeout_s: float) -> Response:
        self._reader.expect()
        is_whole = await self._is_sent(head, timeout_s) and await self._are_sent(pieces, timeout_s)
        response = await self._answer(timeout_s)
        # If the server has answered before the end of the body, it may wait for the rest.
        self._reader.is_reusable &= is_whole
        return response

    async def _are_sent(self, pieces: AsyncIterator[bytes], timeout_s: float) -> bool:
        async for piece in pieces:
            if piece and not await self._is_sent(chunk(piece), timeout_s):
                return False
            await asyncio.sleep(0)  # or a load that never has to wait would block the loop
        return await self._is_sent(LAST_CHUNK, timeout_s)

    async def _is_sent(self, data: bytes, timeout_s: float) -> bool:
        """Send a part; returns False if the server has answered already, or does not take it."""
        if not self._reader.is_done:
            self._transport.write(data)
            await self._until(self._is_writable, timeout_s, "write")
        return not self._reader.is_done

    async def _answer(self, timeout_s: float) -> Response:
        await self._until(lambda: self._reader.is_done, timeout_s, "read")
        with Failures(self._url, "read"):
            return self._reader.take()

    def _is_writable(self) -> bool:
        return not self._is_paused or self._reader.is_done

    async def _until(self, is_met: Callable[[], bool], timeout_s: float, phase: Phase) -> None:
        if is_met():
            return
        self._deadline = self._loop.time() + timeout_s
        if self._timer is None or self._timer.when() > self._deadline:
            self._set_timer()
        while not is_met():
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
            if self._loop.time() >= self._deadline and not is_met():
                with Failures(self._url, phase):
                    raise TimeoutError

    def _set_timer(self) -> None:
        self._stop_timer()
        self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._deadline:  # it was set for an earlier request
            self._set_timer()
        else:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def abort(self) -> None:
        """Close at once, dropping unsent data."""
        self._stop_timer()
        self._transport.abort()

    async def close(self) -> None:
        """Close, and wait until it is closed."""
        self.abort()
        await self._lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        if hasattr(select, "poll"):  # not on Windows
            self._poll = select.poll()
            self._poll.register(transport.get_extra_info("socket"), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._reader.is_done:
            self._wake()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._reader.end("" if exc is None else str(exc))
        self._lost.set_result(None)
        self._wake()
