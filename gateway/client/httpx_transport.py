"""Sends through an httpx transport, such as its MockTransport, instead of the network, for tests.

Imported, with httpx, only if a client is given a transport.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from hedgerow.common.errors import UnavailableError
from hedgerow.gateway.client.calls import Call
from hedgerow.gateway.client.link import Link
from hedgerow.gateway.client.reply import Reply
from hedgerow.gateway.client.trace_header import traceparent


class HttpxTransport:
    """Sends `Client`'s requests through an httpx transport."""

    def __init__(self, link: Link, transport: httpx.BaseTransport) -> None:
        """Send through `transport`."""
        self._link = link
        self._http = httpx.Client(transport=transport, **_settings(link))

    def send(self, call: Call[Any], content: Iterable[bytes] | None = None) -> Reply:
        """Send a call, with `content` as its body if given, and return the reply."""
        with _failures(self._link.url):
            response = self._http.request(**_request(self._link, call, content))
            return Reply(self._link.url, response.status_code, response.headers, response.content)

    def close(self) -> None:
        """Close the transport."""
        self._http.close()


class AsyncHttpxTransport:
    """Sends `AsyncClient`'s requests through an httpx transport."""

    def __init__(self, link: Link, transport: httpx.AsyncBaseTransport) -> None:
        """Send through `transport`."""
        self._link = link
        self._http = httpx.AsyncClient(transport=transport, **_settings(link))

    async def send(self, call: Call[Any], content: AsyncIterator[bytes] | None = None) -> Reply:
        """Send a call, with `content` as its body if given, and return the reply."""
        with _failures(self._link.url):
            response = await self._http.request(**_request(self._link, call, content))
            return Reply(self._link.url, response.status_code, response.headers, response.content)

    async def close(self) -> None:
        """Close the transport."""
        await self._http.aclose()


def _settings(link: Link) -> dict[str, Any]:
    return {
        "base_url": link.url,
        "headers": {"Authorization": f"Bearer {link.token}"} if link.token else {},
        "follow_redirects": False,
        "trust_env": False,
    }


def _request(link: Link, call: Call[Any], content: Any) -> dict[str, Any]:
    body = call.body if content is None else content
    headers = {} if body is None else {"Content-Type": call.media_type}
    trace = traceparent()
    if trace is not None:
        headers["Traceparent"] = trace
    return {
        "method": call.method,
        "url": call.path,
        "params": call.params,
        "content": body,
        "headers": headers,
        "timeout": httpx.Timeout(link.timeout_s(call), connect=link.connect_timeout_s),
    }


@contextmanager
def _failures(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        what = type(error).__name__.removesuffix("Timeout").lower()
        raise UnavailableError(f"the gateway at {url} did not answer in time ({what})") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(f"no gateway answers at {url}: {error}") from error
