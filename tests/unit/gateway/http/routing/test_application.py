"""Which handler answers, and what becomes of requests that none answers."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message

from hedgerow.common.errors import ConflictError
from hedgerow.gateway.http.routing.application import make_app
from hedgerow.gateway.http.routing.router import Router


async def _breaks_off() -> AsyncIterator[bytes]:
    yield b"begun"
    raise RuntimeError("no more")


def _router() -> Router:
    router = Router(is_described=False)

    @router.get("/docs")
    async def docs() -> Response:
        return Response("docs", media_type="text/html")

    @router.get("/docs/{name}")
    async def one(name: str) -> Response:
        return Response(name)

    @router.get("/")
    async def root(request: Request) -> Response:
        return Response(request.url.path)

    @router.get("/page/{name}")
    async def page(name: str) -> Response:
        if name == "conflict":
            raise ConflictError("another one")
        if name == "broken":
            return StreamingResponse(_breaks_off())
        raise RuntimeError("a bug")

    return router


APP = make_app(_router().routes)


def client(root_path: str = "") -> httpx.AsyncClient:
    """Speak to the application, which another has at `root_path`."""
    transport = httpx.ASGITransport(APP, root_path=root_path)
    return httpx.AsyncClient(transport=transport, base_url="http://here")


async def test_a_place_in_a_path_takes_one_part_of_it() -> None:
    """A slash ends it, even an escaped one; it is not empty."""
    assert (await client().get("/docs/a%20b")).text == "a b"
    for path in ("/docs/a/b", "/docs/a%2Fb", "/docs//a", "/Docs/a", "/docsa"):
        assert (await client().get(path)).status_code == 404, path


async def test_an_application_may_be_a_part_of_another() -> None:
    """Its routes begin where the other one has it."""
    assert (await client("/in").get("/in/docs")).text == "docs"


async def test_a_wrong_method_is_told_the_right_ones() -> None:
    """A problem that names them, in the header too."""
    answer = await client().post("/docs")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.json()["type"] == "urn:problem-type:hedgerow:method-not-allowed"


async def test_an_unknown_parameter_is_refused() -> None:
    """A misspelt one would be ignored."""
    answer = await client().get("/docs", params={"nmae": "a"})
    assert (answer.status_code, answer.json()["field"]) == (400, "nmae")


async def test_failures_are_problems() -> None:
    """An error of the tree has its own status, and any other is a 500 without its text."""
    assert (await client().get("/page/conflict")).status_code == 409
    answer = await client().get("/page/bug")
    assert answer.status_code == 500
    assert "a bug" not in answer.text


def _scope(kind: str = "http", path: str = "/page/broken") -> dict[str, Any]:
    return {
        "type": kind,
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [],
        "asgi": {"spec_version": "2.4"},
    }


async def test_an_answer_that_has_begun_gets_no_second_head() -> None:
    """If it fails after that, it ends where it is."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("there is nothing to read")

    await APP(_scope(), receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
