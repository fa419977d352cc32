"""Writes on a condition, patches and aliases over HTTP."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from hedgerow.common.errors import ConflictError, VersionMismatchError
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.shard_log.document_version import version_of
from hedgerow.gateway.http.app import create_app
from hedgerow.gateway.shapes.problem import Problem
from tests.support.fake_gateway import FakeGateway
from tests.support.shapes import check_shape

DOCUMENT = "/v1/collections/films/documents/a/b"
VERSION = "v" * 16


@pytest.fixture
def gateway() -> FakeGateway:
    """Answers by a script."""
    return FakeGateway()


@pytest.fixture
async def client(gateway: FakeGateway) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to it."""
    transport = httpx.ASGITransport(create_app(gateway, GatewaySettings(max_body_bytes=100)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_a_read_has_the_version_as_its_etag(client: httpx.AsyncClient) -> None:
    """It is that of the bytes that are sent."""
    response = await client.get(DOCUMENT)
    assert response.headers["etag"] == f'"{version_of(response.content)}"'


@pytest.mark.parametrize(
    ("method", "kind", "body"),
    [("PUT", "put", {"n": 1}), ("PATCH", "patch", {"n": None}), ("DELETE", "delete", None)],
)
async def test_parameters_reach_the_write(
    client: httpx.AsyncClient, gateway: FakeGateway, method: str, kind: str, body: Any
) -> None:
    """Version, id of the request and `wait` are passed on; the answer has the new version."""
    content = b"" if body is None else json.dumps(body).encode()
    parameters = {"if_version": VERSION, "request_id": "r 1", "wait": "logged"}
    response = await client.request(method, DOCUMENT, content=content, params=parameters)
    assert response.is_success, response.text
    write = (kind, "films", "a/b", body, "logged", VERSION, "r 1")
    assert gateway.conditional_writes.writes == [write]
    if method != "DELETE":
        assert response.json()["version"] == VERSION


@pytest.mark.parametrize(
    ("header", "value", "demanded"),
    [
        ("If-Match", f'"{VERSION}"', VERSION),
        ("If-Match", f'W/"{VERSION}"', VERSION),
        ("If-None-Match", "*", "none"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_headers_of_http_are_conditions_too(
    client: httpx.AsyncClient,
    gateway: FakeGateway,
    method: str,
    header: str,
    value: str,
    demanded: str,
) -> None:
    """A caller who sends back what `ETag` said relies on it, also behind a proxy."""
    content = b"" if method == "DELETE" else b"{}"
    response = await client.request(method, DOCUMENT, content=content, headers={header: value})
    assert response.is_success, response.text
    assert [write[5] for write in gateway.conditional_writes.writes] == [demanded]


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ([("If-Match", "*")], "If-Match"),
        ([("If-Match", VERSION)], "If-Match"),
        ([("If-Match", '"none"')], "If-Match"),
        ([("If-Match", '"short"')], "If-Match"),
        ([("If-Match", f'"{VERSION}", "{VERSION}"')], "If-Match"),
        ([("If-None-Match", f'"{VERSION}"')], "If-None-Match"),
        ([("If-Match", f'"{VERSION}"'), ("If-None-Match", "*")], "if_version"),
        ([("If-Match", f'"{VERSION}"'), ("If-Match", f'"{"w" * 16}"')], "if_version"),
    ],
)
async def test_conditions_that_cannot_be_obeyed_are_refused(
    client: httpx.AsyncClient, gateway: FakeGateway, headers: list[tuple[str, str]], field: str
) -> None:
    """Nothing is written, since the caller relies on them."""
    for method in ("PUT", "PATCH", "DELETE"):
        response = await client.request(method, DOCUMENT, content=b"{}", headers=headers)
        assert (response.status_code, response.json()["field"]) == (400, field), method
    assert not gateway.documents.puts
    assert not gateway.documents.deleted
    assert not gateway.conditional_writes.writes


async def test_without_a_condition_writes_go_the_short_way(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """A PUT and a DELETE do then not wait for a judgement; an id of the request is refused."""
    assert (await client.put(DOCUMENT, content=b"{}")).status_code == 200
    assert (await client.delete(DOCUMENT)).status_code == 204
    assert len(gateway.documents.puts) == len(gateway.documents.deleted) == 1
    for method in ("PUT", "DELETE"):
        response = await client.request(method, DOCUMENT, content=b"", params={"request_id": "r"})
        assert (response.status_code, response.json()["field"]) == (400, "request_id")
    assert gateway.conditional_writes.writes == []


@pytest.mark.parametrize("version", [VERSION, None])
async def test_another_version_is_a_412_that_names_it(
    client: httpx.AsyncClient, gateway: FakeGateway, version: str | None
) -> None:
    """It is null if there is no such document."""
    gateway.conditional_writes.error = VersionMismatchError("it is another", version)
    response = await client.patch(DOCUMENT, content=b"{}", params={"if_version": VERSION})
    problem = response.json()
    assert (response.status_code, problem["version"]) == (412, version)
    assert problem["type"] == "urn:problem-type:hedgerow:version-mismatch"
    check_shape(problem, Problem)


async def test_a_patch_is_bounded_like_other_bodies(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """One over `gateway.max_body_bytes` is refused before it is read."""
    response = await client.patch(DOCUMENT, content=b'{"a": "' + b"b" * 100 + b'"}')
    assert response.status_code == 413
    assert gateway.conditional_writes.writes == []


async def test_bad_bodies_of_aliases_name_the_member(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """Nothing is changed."""
    for method, path, body, field in (
        ("PUT", "/v1/aliases/a", {}, "collection"),
        ("PUT", "/v1/aliases/a", {"collection": 7}, "collection"),
        ("PUT", "/v1/aliases/a", {"collection": "films", "more": 1}, "more"),
        ("POST", "/v1/aliases", {"changes": {}}, "changes"),
        ("POST", "/v1/aliases", {"changes": [{"alias": "a"}]}, "changes[0].collection"),
        (
            "POST",
            "/v1/aliases",
            {"changes": [{"alias": 7, "collection": None}]},
            "changes[0].alias",
        ),
        ("PUT", "/v1/aliases/a%20b", {"collection": "films"}, "alias"),
        ("PUT", "/v1/aliases/a", {"collection": "a b"}, "collection"),
        ("DELETE", "/v1/aliases/a%20b", None, "alias"),
    ):
        response = await client.request(method, path, json=body)
        assert (response.status_code, response.json()["field"]) == (400, field), body
    assert gateway.aliases.there == {}
    gateway.aliases.error = ConflictError("a collection has that name")
    response = await client.put("/v1/aliases/a", json={"collection": "films"})
    assert (response.status_code, response.json()["detail"]) == (409, "a collection has that name")
