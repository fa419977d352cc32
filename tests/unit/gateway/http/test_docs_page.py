"""`/docs` shows the interface in a browser, and nothing of it comes from another host."""

import asyncio
import re
import threading
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from starlette.applications import Starlette

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.app import create_app
from hedgerow.gateway.http.routes.docs_routes import docs_routes
from tests.support.fake_gateway import FakeGateway

BASE = "http://127.0.0.1:8080"
# Named in the viewer's examples and error messages, and never asked.
HOSTS_NAMED = {"example.com", "github.com", "localhost", "marked.js.org"}


class Page(HTMLParser):
    """What a page refers to, and the scripts that stand in it."""

    def __init__(self, text: str) -> None:
        """Read it."""
        super().__init__()
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.inline = ""
        self._is_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Keep addresses and event handlers."""
        self._is_script = tag == "script"
        for name, value in attributes:
            if name in ("src", "href", "spec-url") and value and not value.startswith("data:"):
                self.addresses.append(value)
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_endtag(self, tag: str) -> None:
        """A script has ended, perhaps."""
        self._is_script = False

    def handle_data(self, data: str) -> None:
        """Keep what stands in a script."""
        if self._is_script:
            self.inline += data.strip()


@pytest.fixture
async def client() -> httpx.AsyncClient:
    """A browser's way to a gateway."""
    app = create_app(FakeGateway(), GatewaySettings())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE)


async def test_all_that_the_page_loads_is_there(client: httpx.AsyncClient) -> None:
    """Each address leads to this gateway, and it answers."""
    page = await client.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    addresses = Page(page.text).addresses
    assert len(addresses) == 3
    for address in addresses:
        target = urljoin(f"{BASE}/docs", address)
        assert urlsplit(target).netloc == urlsplit(BASE).netloc
        found = await client.get(target)
        assert (found.status_code, len(found.content) > 1000) == (200, True), address
    behind_proxy = urljoin("https://a.example/search/docs", addresses[0])
    assert behind_proxy.startswith("https://a.example/search/")


async def test_the_policy_allows_no_inline_script_and_no_other_host(
    client: httpx.AsyncClient,
) -> None:
    """Whatever a document or a description says, the browser runs and loads nothing of it."""
    page = await client.get("/docs")
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in page.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert not any("http" in value or "*" in value for value in policy.values())
    found = Page(page.text)
    assert (found.inline, found.handlers) == ("", [])


async def test_the_viewer_asks_no_other_host_and_brings_its_licences(
    client: httpx.AsyncClient,
) -> None:
    """The script names no host that serves fonts or scripts; the licences are at hand."""
    script = (await client.get("/docs/openapi-explorer.min.js")).text
    hosts = {urlsplit(one).netloc for one in re.findall(r"https?://[\w.-]+", script)}
    assert hosts <= HOSTS_NAMED
    licences = (await client.get("/docs/LICENCES.txt")).text
    version = re.search(r"OpenAPI Explorer ([\d.]+)", script)
    assert version is not None
    for package in (f"openapi-explorer {version[1]} (Apache-2.0)", "lit-html ", "marked "):
        assert package in licences
    assert len(script) < 1_000_000


async def test_the_interface_is_described_once_and_beside_the_event_loop() -> None:
    """Describing it takes long; meanwhile other requests are answered, and later ones are short."""
    begun, goes_on, calls = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def describe() -> dict[str, Any]:
        loop.call_soon_threadsafe(begun.set)
        calls.append(goes_on.wait(10))
        return {"openapi": "3.1.0"}

    app = Starlette(routes=docs_routes(describe))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE)
    described = [asyncio.create_task(client.get("/openapi.json")) for _ in range(3)]
    await begun.wait()
    assert (await client.get("/docs")).status_code == 200
    goes_on.set()
    answers = [(await one).json() for one in described]
    answers.append((await client.get("/openapi.json")).json())
    assert answers == [{"openapi": "3.1.0"}] * 4
    assert calls == [True]
