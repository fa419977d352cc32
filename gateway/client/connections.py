"""Connections of the client on a loop: one is taken for each request, and given back after it.

httpx's own pool looks at every connection that it has, and asks the system whether each is still
open, before and after each request: with 32 in flight that is two thirds of a request's CPU. So
each pool here is of one connection, and a stack holds those that are idle.
"""

import ssl

import httpx


class Connections(httpx.AsyncBaseTransport):
    """As many connections as there are requests in flight, and the last one used first."""

    def __init__(self, verify: ssl.SSLContext | bool, keepalive_s: float) -> None:
        """Connect when there is something to send.

        Args:
            verify: how certificates are checked, as httpx has it.
            keepalive_s: how long an idle connection is used again, in s.
        """
        self._verify = httpx.create_ssl_context(verify, trust_env=False)
        self._limits = httpx.Limits(max_connections=1, keepalive_expiry=keepalive_s)
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._is_closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, and read all of its response."""
        connection = self._idle.pop() if self._idle else self._make()
        try:
            response = await connection.handle_async_request(request)
            await response.aread()
        except BaseException:
            await connection.aclose()  # whatever state it is in
            raise
        if self._is_closed:
            await connection.aclose()
        else:
            self._idle.append(connection)
        return response

    def _make(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(verify=self._verify, limits=self._limits, trust_env=False)

    async def aclose(self) -> None:
        """Close those that are idle; the others close when they come back."""
        self._is_closed = True
        while self._idle:
            await self._idle.pop().aclose()
