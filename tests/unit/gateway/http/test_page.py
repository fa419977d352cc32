"""The page over HTTP: to whom it is shown, and what binds a browser."""

import httpx
import pytest
from pydantic import SecretStr

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.http.app import create_app
from hedgerow.gateway.page.files import read_files
from tests.support.fake_gateway import FakeGateway

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def client_of(host: str = "localhost:8080", token: str | None = None) -> httpx.AsyncClient:
    """Speak to the application in this process."""
    settings = GatewaySettings(token=None if token is None else SecretStr(token))
    app = create_app(FakeGateway(), settings, AccessControl(settings))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{host}")


async def test_a_browser_is_shown_the_page() -> None:
    """A client that takes HTML gets it at /, and each file that it names."""
    async with client_of() as client:
        page = await client.get("/", headers=BROWSER)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert page.headers["vary"] == "Accept"
        for name, file in read_files().items():
            found = await client.get(f"/page/{name}")
            assert found.status_code == 200
            assert found.content == file.body
            assert found.headers["content-type"] == file.media_type


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html2", ""])
async def test_programs_get_what_they_always_got(accept: str) -> None:
    """A client that does not name HTML gets a problem, in JSON."""
    async with client_of() as client:
        found = await client.get("/", headers={"Accept": accept})
    assert found.status_code == 404
    assert found.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/page/style.css", "/page/index.html"])
async def test_scripts_come_from_the_page_s_files_alone(path: str) -> None:
    """The policy allows no script or style within a document, no other host, and no framing."""
    async with client_of() as client:
        headers = (await client.get(path, headers=BROWSER)).headers
    directives = dict(
        one.strip().partition(" ")[::2] for one in headers["content-security-policy"].split(";")
    )
    assert directives["default-src"] == "'none'"
    for name in ("script-src", "style-src", "img-src", "connect-src"):
        assert directives[name] == "'self'", name
    for name in ("base-uri", "form-action", "frame-ancestors", "trusted-types"):
        assert directives[name] == "'none'", name
    assert directives["require-trusted-types-for"] == "'script'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


async def test_a_browser_keeps_a_file_until_it_changes() -> None:
    """It asks with the tag, and is answered without the file."""
    async with client_of() as client:
        first = await client.get("/page/main.js")
        again = await client.get("/page/main.js", headers={"If-None-Match": first.headers["etag"]})
        other = await client.get("/page/main.js", headers={"If-None-Match": '"old"'})
    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert other.status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "..%2Ffiles.py", "%2e%2e/files.py", "files.py", ""])
async def test_only_the_page_s_files_are_served(name: str) -> None:
    """No file beside or above them is served."""
    async with client_of() as client:
        assert (await client.get(f"/page/{name}")).status_code == 404


async def test_the_page_is_shown_without_a_key_and_the_rest_is_not() -> None:
    """The page asks for the key; what it shows comes from routes that want it."""
    async with client_of(token="s3cret") as client:
        assert (await client.get("/", headers=BROWSER)).status_code == 200
        assert (await client.get("/page/main.js")).status_code == 200
        for path in ("/v1/events", "/v1/status", "/v1/collections", "/pages", "/docs"):
            assert (await client.get(path, headers=BROWSER)).status_code == 401, path
        assert (await client.get("/")).status_code == 401
        assert (await client.post("/", headers=BROWSER)).status_code == 401
        assert (await client.post("/page/main.js")).status_code == 401


@pytest.mark.parametrize("path", ["/", "/page/main.js"])
async def test_the_page_has_no_foreign_name(path: str) -> None:
    """A page that points its own name at an open gateway does not get ours."""
    async with client_of("evil.example") as client:
        assert (await client.get(path, headers=BROWSER)).status_code == 403
