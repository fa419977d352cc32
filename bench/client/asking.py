"""The ways to ask, and one measurement of one of them; each way imports what it needs itself.

`python -m bench.client.asking WAY URL IN_FLIGHT SECONDS` prints the number of answers, wall-clock
seconds and CPU seconds as JSON. CPU time is that of all threads of this process.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bench.harness.load import Run, closed_loop
from bench.harness.threads import asking_in_threads

QUERY = "image viewer"
COLLECTION = "packages"
PATH = f"/v1/collections/{COLLECTION}/search"
BODY = json.dumps({"query": QUERY, "k": 10, "deadline_ms": 1000}).encode()
HEADERS = {"Content-Type": "application/json"}

Ask = Callable[[], Any]
AskAsync = Callable[[], Awaitable[Any]]


def hedgerow_blocking(url: str) -> Ask:
    """`gateway.client.Client`: builds the request, and decodes the answer."""
    from hedgerow.gateway.client import Client  # noqa: PLC0415 - each way imports what it needs

    client = Client(url)
    return lambda: client.search(COLLECTION, QUERY, k=10, deadline_ms=1000)


def hedgerow_exchange(url: str) -> Ask:
    """The client's transport alone."""
    from hedgerow.gateway.client import Client, calls  # noqa: PLC0415 - as above

    client = Client(url)
    call = calls.search(COLLECTION, QUERY, {"k": 10, "deadline_ms": 1000})
    return lambda: client.exchange(call)


def urllib3_blocking(url: str) -> Ask:
    """urllib3's pool."""
    import urllib3  # noqa: PLC0415 - as above

    pool = urllib3.connection_from_url(url, maxsize=64)
    options: dict[str, Any] = {"body": BODY, "headers": HEADERS, "retries": False}
    return lambda: pool.urlopen("POST", PATH, **options).data


def http_client(url: str) -> Ask:
    """The standard library's client, with a connection for each thread."""
    import http.client  # noqa: PLC0415 - as above

    own = threading.local()

    def ask() -> bytes:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(urlsplit(url).netloc)
        own.connection.request("POST", PATH, BODY, HEADERS)
        body: bytes = own.connection.getresponse().read()
        return body

    return ask


def niquests_blocking(url: str) -> Ask:
    """The session of niquests."""
    import niquests  # noqa: PLC0415 - as above

    session = niquests.Session()
    session.trust_env = False
    return lambda: session.post(url + PATH, data=BODY, headers=HEADERS).content


def httpcore_blocking(url: str) -> Ask:
    """The transport of httpx."""
    import httpcore  # noqa: PLC0415 - as above

    pool = httpcore.ConnectionPool(max_connections=64)
    return lambda: (
        pool.request("POST", url + PATH, headers=[*HEADERS.items()], content=BODY).content
    )


def httpx_blocking(url: str) -> Ask:
    """The client of httpx."""
    import httpx  # noqa: PLC0415 - as above

    client = httpx.Client(trust_env=False)
    return lambda: client.post(url + PATH, content=BODY, headers=HEADERS).content


def pycurl_blocking(url: str) -> Ask:
    """libcurl, with a handle for each thread."""
    import pycurl  # noqa: PLC0415 - as above

    own = threading.local()

    def ask() -> bytes:
        if not hasattr(own, "handle"):
            own.handle = pycurl.Curl()
            own.handle.setopt(pycurl.URL, url + PATH)
            own.handle.setopt(pycurl.HTTPHEADER, ["Content-Type: application/json"])
            own.handle.setopt(pycurl.NOSIGNAL, 1)
        body: list[bytes] = []
        head: list[bytes] = []
        own.handle.setopt(pycurl.POSTFIELDS, BODY)
        own.handle.setopt(pycurl.TIMEOUT_MS, 11_000)
        own.handle.setopt(pycurl.WRITEFUNCTION, body.append)
        own.handle.setopt(pycurl.HEADERFUNCTION, head.append)
        own.handle.perform()
        return b"".join(body)

    return ask


def pyreqwest_blocking(url: str) -> Ask:
    """reqwest, in Rust."""
    from pyreqwest.client import SyncClientBuilder  # noqa: PLC0415 - as above

    client = SyncClientBuilder().build()
    return lambda: client.post(url + PATH).headers(HEADERS).body_bytes(BODY).build().send().bytes()


async def hedgerow_async(url: str) -> AskAsync:
    """`gateway.client.AsyncClient`: builds the request, and decodes the answer."""
    from hedgerow.gateway.client import AsyncClient  # noqa: PLC0415 - as above

    client = AsyncClient(url)
    return lambda: client.search(COLLECTION, QUERY, k=10, deadline_ms=1000)


async def hedgerow_exchange_async(url: str) -> AskAsync:
    """The client's transport alone."""
    from hedgerow.gateway.client import AsyncClient, calls  # noqa: PLC0415 - as above

    client = AsyncClient(url)
    call = calls.search(COLLECTION, QUERY, {"k": 10, "deadline_ms": 1000})
    return lambda: client.exchange(call)


async def bare(url: str) -> AskAsync:
    """The benchmark's own exchange of bytes, which only looks for the end of an answer."""
    from bench.harness.http_load import HttpGateway  # noqa: PLC0415 - as above

    address = urlsplit(url)
    gateway = HttpGateway(address.hostname or "", address.port or 80, 0)
    return lambda: gateway.search(COLLECTION, BODY)


async def aiohttp_async(url: str) -> AskAsync:
    """The session of aiohttp."""
    import aiohttp  # noqa: PLC0415 - as above

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )

    async def ask() -> bytes:
        async with session.post(
            url + PATH, data=BODY, headers=HEADERS, allow_redirects=False
        ) as answer:
            return await answer.read()

    return ask


async def niquests_async(url: str) -> AskAsync:
    """The session of niquests on a loop."""
    import niquests  # noqa: PLC0415 - as above

    session = niquests.AsyncSession(pool_maxsize=64)
    session.trust_env = False

    async def ask() -> Any:
        return (await session.post(url + PATH, data=BODY, headers=HEADERS)).content

    return ask


async def httpcore_async(url: str) -> AskAsync:
    """The transport of httpx on a loop."""
    import httpcore  # noqa: PLC0415 - as above

    pool = httpcore.AsyncConnectionPool(max_connections=64)

    async def ask() -> bytes:
        answer = await pool.request("POST", url + PATH, headers=[*HEADERS.items()], content=BODY)
        return answer.content

    return ask


async def httpx_async(url: str) -> AskAsync:
    """The client of httpx on a loop."""
    import httpx  # noqa: PLC0415 - as above

    client = httpx.AsyncClient(trust_env=False)

    async def ask() -> bytes:
        return (await client.post(url + PATH, content=BODY, headers=HEADERS)).content

    return ask


async def pyreqwest_async(url: str) -> AskAsync:
    """reqwest, in Rust, on a loop."""
    from pyreqwest.client import ClientBuilder  # noqa: PLC0415 - as above

    client = ClientBuilder().build()

    async def ask() -> Any:
        request = client.post(url + PATH).headers(HEADERS).body_bytes(BODY).build()
        return await (await request.send()).bytes()

    return ask


class Way(NamedTuple):
    """A way to ask.

    Attributes:
        environment: the file of `requirements/` that it needs; "" for the project's own.
        open: returns a function that asks once, and returns the answer or its bytes.
        is_async: whether both are coroutine functions.
    """

    environment: str
    open: Callable[[str], Any]
    is_async: bool


WAYS = {
    "Client": Way("", hedgerow_blocking, False),
    "Client, transport alone": Way("", hedgerow_exchange, False),
    "pycurl": Way("candidates", pycurl_blocking, False),
    "pyreqwest": Way("candidates", pyreqwest_blocking, False),
    "http.client": Way("", http_client, False),
    "urllib3": Way("candidates", urllib3_blocking, False),
    "httpcore": Way("candidates", httpcore_blocking, False),
    "niquests": Way("niquests", niquests_blocking, False),
    "httpx": Way("candidates", httpx_blocking, False),
    "AsyncClient": Way("", hedgerow_async, True),
    "AsyncClient, transport alone": Way("", hedgerow_exchange_async, True),
    "bare exchange, async": Way("", bare, True),
    "pyreqwest, async": Way("candidates", pyreqwest_async, True),
    "aiohttp": Way("candidates", aiohttp_async, True),
    "niquests, async": Way("niquests", niquests_async, True),
    "httpcore, async": Way("candidates", httpcore_async, True),
    "httpx, async": Way("candidates", httpx_async, True),
}
_WARM_UP_S = 0.2


async def measure(way: Way, url: str, in_flight: int, seconds: float) -> dict[str, float]:
    """Ask in one way; returns the number of answers, and the time and CPU time they took, in s.

    Raises:
        RuntimeError: a request has failed.
    """
    opened = way.open(url)
    run: Run
    if way.is_async:
        run = partial(closed_loop, await opened)
    else:
        run = asking_in_threads(opened, in_flight)
    await run(in_flight, _WARM_UP_S)
    before_s = time.process_time()
    load = await run(in_flight, seconds)
    cpu_s = time.process_time() - before_s
    if load.num_failed:
        raise RuntimeError(f"{load.num_failed} requests failed: {load.failure}")
    return {"answers": len(load.latencies_s), "wall_s": load.seconds, "cpu_s": cpu_s}


def main() -> None:
    """Measure once."""
    name, url, in_flight, seconds = sys.argv[1:]
    figures = asyncio.run(measure(WAYS[name], url, int(in_flight), float(seconds)))
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
