"""Documents over HTTP: loads, and single ones by their address."""

from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hedgerow.common.document_ids import check_id
from hedgerow.common.errors import (
    BadRequestError,
    InsufficientStorageError,
    LoadInterruptedError,
    NotFoundError,
    OverloadedError,
    TooLargeError,
    WriteRefusedError,
)
from hedgerow.gateway.shapes.collection import LoadAnswer
from hedgerow.gateway.writes.load import LoadReport
from tests.support.fake_gateway import FakeGateway
from tests.support.shapes import check_shape
from tests.unit.support.http_client import FILMS, connect


async def test_documents_are_streamed_in(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    """A load reaches the gateway in the pieces in which it comes, and its report comes back."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"id": "1"}\n{"i'
        yield b'd": "2"}\n'

    gateway.documents.report.reject(7, "id is missing")
    response = await client.post(f"{FILMS}/documents", content=pieces())
    assert gateway.documents.loads == [
        ("films", "applied", [b'{"id": "1"}\n{"i', b'd": "2"}\n']),
    ]
    assert response.json() == {
        "accepted": 2,
        "rejected": [{"line": 7, "reason": "id is missing"}],
        "rejected_total": 1,
        "applied": True,
    }
    check_shape(response.json(), LoadAnswer)


async def test_a_load_may_be_larger_than_other_bodies(gateway: FakeGateway) -> None:
    """The limit on bodies does not bound a bulk load, which is never held whole."""
    client = connect(gateway, max_body_bytes=10)
    response = await client.post(f"{FILMS}/documents", content=b'{"id": "1"}\n' * 100)
    assert response.status_code == 200


@pytest.mark.parametrize("wait", ["logged", "applied"])
async def test_wait_reaches_the_write_path(
    client: httpx.AsyncClient, gateway: FakeGateway, wait: str
) -> None:
    """?wait= is passed on by loads and deletes."""
    await client.post(f"{FILMS}/documents", params={"wait": wait}, content=b"")
    await client.delete(f"{FILMS}/documents/1", params={"wait": wait})
    assert gateway.documents.loads[0][1] == wait
    assert gateway.documents.deleted == [("films", "1", wait)]


async def test_another_wait_is_refused(client: httpx.AsyncClient) -> None:
    """The framework's refusals are 400 problems too, not 422."""
    response = await client.post(f"{FILMS}/documents", params={"wait": "forever"}, content=b"")
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["field"] == "wait"
    assert "'logged' or 'applied'" in response.json()["reason"]


async def test_a_load_that_breaks_off_says_how_far_it_got(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """503 of a load carries its report, so that its sender knows where to go on."""
    report = LoadReport(accepted=41)
    report.reject(3, "is not JSON")
    gateway.documents.error = LoadInterruptedError("the replicas are behind", report, 2.0)
    response = await client.post(f"{FILMS}/documents", content=b"{}\n")
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert response.json()["accepted"] == 41
    assert response.json()["rejected"] == [{"line": 3, "reason": "is not JSON"}]


async def test_a_lack_of_room_says_what_runs_out_and_what_was_accepted(
    gateway: FakeGateway, client: httpx.AsyncClient
) -> None:
    """507 of a load carries the shortages and the report, and says when to try again."""
    shortages = [{"where": "w0", "resource": "disk", "state": "full", "detail": "0 MB free"}]
    report = LoadReport(accepted=41)
    gateway.documents.error = InsufficientStorageError("w0: 0 MB free", shortages, report, 5.0)
    response = await client.post(f"{FILMS}/documents", content=b"{}\n")
    assert (response.status_code, response.headers["retry-after"]) == (507, "5")
    body = response.json()
    assert body["type"].endswith(":insufficient-storage")
    assert (body["shortages"], body["accepted"]) == (shortages, 41)
    gateway.documents.error = InsufficientStorageError("w0: 0 MB free", shortages)
    assert "accepted" not in (await client.delete(f"{FILMS}/documents/a")).json()


async def test_a_server_that_takes_no_writes_is_a_lack_of_room(
    gateway: FakeGateway, client: httpx.AsyncClient
) -> None:
    """What Redis itself refuses for want of memory or disk is 507 on every route, and not 500."""
    gateway.optimiser.error = WriteRefusedError("Redis refuses HSET: OOM", "memory")
    response = await client.post(f"{FILMS}/optimise")
    assert (response.status_code, response.headers["retry-after"]) == (507, "5")
    assert "OOM" in response.json()["detail"]


@pytest.mark.parametrize("path", ["a%2Fb", "a/b"])
async def test_a_document_id_may_hold_slashes(client: httpx.AsyncClient, path: str) -> None:
    """An id with a slash is read whether the slash is escaped or not."""
    response = await client.get(f"{FILMS}/documents/{path}", params={"deadline_ms": 50})
    assert response.json()["asked"] == ["films", "a/b", 50]


@pytest.mark.parametrize("deadline_ms", ["inf", "-inf", "nan", "0", "-1", "60001", "soon", ""])
async def test_a_deadline_that_is_none_is_refused(
    client: httpx.AsyncClient, deadline_ms: str
) -> None:
    """Reading a document takes the deadlines that a search takes, and no others."""
    response = await client.get(f"{FILMS}/documents/a", params={"deadline_ms": deadline_ms})
    assert (response.status_code, response.json()["field"]) == (400, "deadline_ms")


async def test_the_deadline_of_a_read_is_within_the_gateway_s(gateway: FakeGateway) -> None:
    """The longest deadline bounds the one of a read, the default one included."""
    client = connect(gateway, max_deadline_ms=50.0)
    for deadline_ms, status in ((50, 200), (50.1, 400)):
        params = {"deadline_ms": deadline_ms}
        assert (await client.get(f"{FILMS}/documents/a", params=params)).status_code == status
    assert (await client.get(f"{FILMS}/documents/a")).json()["asked"] == ["films", "a", 50]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/collections"),
        ("PUT", FILMS),
        ("PATCH", FILMS),
        ("GET", FILMS),
        ("DELETE", FILMS),
        ("POST", f"{FILMS}/search"),
        ("POST", f"{FILMS}/documents"),
        ("GET", f"{FILMS}/documents/a"),
        ("PUT", f"{FILMS}/documents/a"),
        ("DELETE", f"{FILMS}/documents/a"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/v1/status"),
        ("POST", "/v1/shards/3/breaker"),
    ],
)
async def test_a_parameter_that_nobody_knows_is_refused(
    client: httpx.AsyncClient, gateway: FakeGateway, method: str, path: str
) -> None:
    """A misspelt parameter is named, on every route, and nothing is done."""
    gateway.collections.defined = {"films": {}}
    response = await client.request(
        method, path, params={"wiat": "logged", "x": ""}, content=b'{"query": "a", "id": "a"}'
    )
    assert response.status_code == 400
    assert [one["field"] for one in response.json()["errors"]] == ["wiat", "x"]
    assert gateway.collections.defined == {"films": {}}
    assert (gateway.documents.loads, gateway.documents.deleted, gateway.searches) == ([], [], [])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_id_that_is_not_utf_8_is_refused(
    client: httpx.AsyncClient, gateway: FakeGateway, method: str
) -> None:
    """Bytes that are no UTF-8 are not taken for the id that would stand in their place."""
    response = await client.request(method, f"{FILMS}/documents/a%ff")
    assert (response.status_code, response.json()["field"]) == (400, "path")
    assert gateway.documents.deleted == []


@pytest.mark.parametrize(
    "path",
    [
        f"{FILMS}/documents/victim%0A",
        f"{FILMS}/documents/a%0Ab",
        f"{FILMS}/documents/a%00",
        f"{FILMS}/documents/%C2%85",
        f"{FILMS}/documents/%E2%80%A8",
        f"{FILMS}/documents/%EF%BF%BF",
        f"{FILMS}%0A",
        f"{FILMS}%0A/documents/a",
        f"{FILMS}/documents%0A",
        f"{FILMS}/optimise%0A",
        f"{FILMS}/search%0A",
        f"{FILMS}/coverage-curve%0A",
        "/v1/collections%0A",
        "/v1/status%0A",
        "/v1/snapshots%0A",
        "/v1/quarantine/ab%0A",
        "/v1/shards/1%0A/breaker",
        "/healthz%0A",
        "/docs%0A",
        "/openapi.json%0A",
        "/elsewhere%1B",
    ],
)
async def test_a_path_with_a_character_that_no_name_has_is_refused(
    client: httpx.AsyncClient, gateway: FakeGateway, path: str
) -> None:
    """Whatever the route and the method, it is a 400 about the path, and nothing is done."""
    gateway.collections.defined = {"films": {}}
    for method in ("GET", "POST", "PUT", "DELETE"):
        response = await client.request(method, path, content=b"{}")
        assert (response.status_code, response.json()["field"]) == (400, "path")
    assert gateway.collections.defined == {"films": {}}
    assert (gateway.documents.loads, gateway.documents.deleted, gateway.searches) == ([], [], [])


def is_id(text: str) -> bool:
    """Whether a document may have an id."""
    try:
        check_id(text)
    except BadRequestError:
        return False
    return True


IDS = st.one_of(
    st.text(min_size=1, max_size=20),
    st.text("/?#%+;.: &=\\\"'<>{}|^`~é\u202e\U0001f600aA0", min_size=1, max_size=20),
).filter(is_id)


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200
)
@given(IDS)
async def test_a_document_is_addressed_by_its_id(
    gateway: FakeGateway, client: httpx.AsyncClient, document_id: str
) -> None:
    """Whatever an id is made of, its percent-encoded form reaches the gateway as that id."""
    escaped = "".join(f"%{byte:02X}" for byte in document_id.encode())
    got = await client.get(f"{FILMS}/documents/{escaped}")
    assert got.json()["asked"][:2] == ["films", document_id]
    put = await client.put(f"{FILMS}/documents/{escaped}", content=b"{}")
    assert put.status_code == 200
    assert gateway.documents.puts[-1][:2] == ("films", document_id)
    removed = await client.delete(f"{FILMS}/documents/{escaped}")
    assert removed.status_code == 204
    assert gateway.documents.deleted[-1][:2] == ("films", document_id)


async def test_a_document_is_put_by_its_address(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """The answer is that of a load of one line; `wait` and errors are passed on."""
    content = b'{\n "title": "wing"\n}'
    response = await client.put(f"{FILMS}/documents/a%2Fb?wait=logged", content=content)
    assert response.status_code == 200
    assert response.json() == {
        "accepted": 1,
        "rejected": [],
        "rejected_total": 0,
        "applied": False,
    }
    assert gateway.documents.puts == [("films", "a/b", "logged", {"title": "wing"})]
    gateway.documents.error = BadRequestError("id", "is 'x' in the body and 'a' in the address")
    response = await client.put(f"{FILMS}/documents/a", content=content)
    assert (response.status_code, response.json()["field"]) == (400, "id")
    gateway.documents.error = TooLargeError("the document", "has more than 5 bytes")
    assert (await client.put(f"{FILMS}/documents/a", content=content)).status_code == 413
    response = await client.put(f"{FILMS}/documents/a?wait=never", content=content)
    assert (response.status_code, response.json()["field"]) == (400, "wait")


async def test_too_many_loads_are_told_to_come_back(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """A load for which there is no place is a 429 that says when to try again."""
    gateway.documents.error = OverloadedError("32 bulk loads are under way", "loads")
    response = await client.post(f"{FILMS}/documents", content=b"{}")
    assert (response.status_code, response.json()["cause"]) == (429, "loads")
    assert response.headers["retry-after"] == "1"


async def test_an_id_without_a_character_reaches_the_check(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """An empty id is refused by the write path, not taken by another route."""
    gateway.documents.error = BadRequestError("id", "should be a string of at least one character")
    response = await client.delete(f"{FILMS}/documents/")
    assert (response.status_code, response.json()["field"]) == (400, "id")


async def test_a_document_that_is_not_there_is_not_found(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    """Reading an unknown document is a 404."""
    gateway.reader.document = NotFoundError("there is no document 'x'")
    assert (await client.get(f"{FILMS}/documents/x")).status_code == 404
