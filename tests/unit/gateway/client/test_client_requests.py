"""URLs of gateways, and requests as bytes."""

import json
import math
import struct
from array import array
from collections import UserList
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, unquote

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.client import AsyncClient, Client, VectorQuery, calls
from hedgerow.gateway.client.batch_calls import search_batch
from hedgerow.gateway.client.ndjson import chunks, chunks_of, document_body
from hedgerow.gateway.client.network.address import Address, address_of
from hedgerow.gateway.client.network.requests import LAST_CHUNK, RequestWriter, chunk


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://g", Address("g", 80, False, "g", "", None)),
        ("https://g", Address("g", 443, True, "g", "", None)),
        ("HTTP://G:8080/", Address("g", 8080, False, "g:8080", "", None)),
        ("https://g:80/a b/c/", Address("g", 80, True, "g:80", "/a%20b/c", None)),
        ("http://[::1]:80", Address("::1", 80, False, "[::1]", "", None)),
        ("http://[fe80::1%eth0]:81", Address("fe80::1%eth0", 81, False, "[fe80::1]:81", "", None)),
        ("http://bücher.example", Address("xn--bcher-kva.example", 80, False, "", "", None)),
        ("http://my_host.", Address("my_host.", 80, False, "my_host.", "", None)),
        ("http://me:a%3Ab@g", Address("g", 80, False, "g", "", "Basic bWU6YTpi")),
    ],
)
def test_a_url_is_taken_apart(url: str, address: Address) -> None:
    """Host, port, what Host says, the path before the interface's, and who asks."""
    found = address_of(url)
    assert (found.host, found.port, found.is_tls) == (address.host, address.port, address.is_tls)
    assert found.authority == (address.authority or address.host)
    assert (found.prefix, found.credentials) == (address.prefix, address.credentials)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "g",
        "localhost:8080",
        "ftp://g",
        "unix:///run/g",
        "http://",
        "http://:80",
        "http://g:x",
        "http://g:99999",
        "http://a b",
        "http://a\x00b",
        "http://[g]",
        *("http://g?x=1", "http://g/#x", "http://ü..:1", f"http://{'a' * 64}"),
    ],
)
def test_what_is_no_url_of_a_gateway_is_refused(url: str) -> None:
    """Nothing is sent to the place that it might lead to."""
    with pytest.raises(ValueError, match=r"."):
        address_of(url)


def received(*data: bytes) -> tuple[h11.Request, bytes]:
    """What a server reads from the bytes of one request, and from no others."""
    server = h11.Connection(h11.SERVER)
    for piece in data:
        server.receive_data(piece)
    events = []
    while not isinstance(event := server.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Request | h11.Data)
        events.append(event)
    assert server.trailing_data == (b"", False)
    request, *body = events
    assert isinstance(request, h11.Request)
    return request, b"".join(bytes(piece.data) for piece in body if isinstance(piece, h11.Data))


def headers_of(request: h11.Request) -> dict[str, str]:
    """Headers by name; fails where a name is there twice."""
    found = {name.decode(): value.decode() for name, value in request.headers}
    assert len(found) == len(request.headers)
    return found


WRITER = RequestWriter(address_of("http://g:8080/api"), "secret")


def test_a_search_is_one_request() -> None:
    """Method, path, headers and body are what another implementation of HTTP reads."""
    call = calls.search("films", "wing", {"k": 3})
    request, body = received(WRITER.whole(call))
    assert (request.method, request.target) == (b"POST", b"/api/v1/collections/films/search")
    assert headers_of(request) == {
        "host": "g:8080",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "hedgerow-client",
        "authorization": "Bearer secret",
        "content-type": "application/json",
        "content-length": "22",
    }
    assert body == b'{"query":"wing","k":3}'


@pytest.mark.parametrize(
    ("call", "length"),
    [
        (calls.status(), None),
        (calls.create_snapshots(), "0"),
        (calls.delete_collection("films"), None),
    ],
    ids=["GET", "POST", "DELETE"],
)
def test_a_request_without_a_body_says_so(call: calls.Call[Any], length: str | None) -> None:
    """A POST has a length of 0; the others have none."""
    request, body = received(WRITER.whole(call))
    assert headers_of(request).get("content-length") == length
    assert "content-type" not in headers_of(request)
    assert body == b""


@given(st.lists(st.binary(min_size=1, max_size=50)))
def test_a_body_in_chunks_is_read_as_it_was_sent(pieces: list[bytes]) -> None:
    """A load arrives whole, however it is cut."""
    call = calls.index("films", "logged", 60)
    request, body = received(WRITER.chunked(call), *map(chunk, pieces), LAST_CHUNK)
    assert body == b"".join(pieces)
    assert headers_of(request)["content-type"] == "application/x-ndjson"
    assert request.target == b"/api/v1/collections/films/documents?wait=logged"


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text(min_size=1), max_size=2))
def test_no_path_breaks_out_of_its_line(text: str, params: dict[str, str]) -> None:
    """Whatever a caller names, it is one request, for exactly that."""
    text = text.encode(errors="replace").decode()
    params = {
        name.encode(errors="replace").decode(): value.encode(errors="replace").decode()
        for name, value in params.items()
    }
    call: Any = calls.Call("GET", f"/v1/{text}", lambda _: None, params=params)
    request, _ = received(WRITER.whole(call))
    path, _, query = request.target.decode().partition("?")
    assert unquote(path) == unquote(f"/api/v1/{text}")
    assert parse_qs(query, strict_parsing=bool(query)) == {
        name: [value] for name, value in params.items()
    }


def test_the_url_s_user_is_sent_where_there_is_no_token() -> None:
    """A proxy may want a password and the gateway a token; the gateway's token goes first."""
    address = address_of("http://me:pass@g")
    request, _ = received(RequestWriter(address, None).whole(calls.status()))
    assert headers_of(request)["authorization"] == "Basic bWU6cGFzcw=="
    request, _ = received(RequestWriter(address, "secret").whole(calls.status()))
    assert headers_of(request)["authorization"] == "Bearer secret"
    request, _ = received(RequestWriter(address_of("http://g"), None).whole(calls.status()))
    assert "authorization" not in headers_of(request)


class Numbers:
    """An array as numpy's is."""

    def tolist(self) -> list[float]:
        """Its numbers."""
        return [0.5, 1.0]


def test_arrays_are_written_as_lists() -> None:
    """In a search, a batch and a document: what a model returns need not be converted."""
    vector = {"field": "v", "value": Numbers()}
    searched = calls.search("c", "", calls.SearchOptions(vector=vector))
    batch = search_batch([{"collection": "c", "vector": vector}], None)
    written = document_body({"id": "a", "v": Numbers()})
    for body in (searched.body, batch.body, written):
        assert isinstance(body, bytes)
        assert b"[0.5,1.0]" in body


@pytest.mark.parametrize(
    "value", [Numbers(), array("f", [0.5, 1.0]), (0.5, 1.0), UserList([0.5, 1.0])]
)
def test_a_vector_is_any_sequence_or_array(value: Sequence[float] | Numbers) -> None:
    """It is written as a list of numbers; packed as 32-bit floats, as their Base64."""
    searched = calls.search("c", "", calls.SearchOptions(vector=VectorQuery("v", value)))
    assert json.loads(searched.body or b"")["vector"] == {"field": "v", "value": [0.5, 1.0]}
    packed = VectorQuery("v", struct.pack("<2f", 0.5, 1.0))
    searched = calls.search("c", "", calls.SearchOptions(vector=packed))
    assert json.loads(searched.body or b"")["vector"]["value"] == "AAAAPwAAgD8="


def test_what_is_no_json_is_refused() -> None:
    """With its type, before anything is sent."""
    with pytest.raises(BadRequestError, match="of type object cannot be written as JSON"):
        document_body({"id": "a", "v": object()})


LONE = "a\udc80"  # as in the name of a file that is not UTF-8


@pytest.mark.parametrize(
    "make",
    [
        lambda: calls.search("c", LONE, {}),
        lambda: calls.search("c", "", {"filter": LONE}),
        lambda: search_batch([{"collection": "c", "query": LONE}], None),
        lambda: calls.get_document("c", LONE, None),
        lambda: calls.get_collection(LONE),
        lambda: calls.put_collection("c", {"fields": {LONE: "text"}}),
        lambda: calls.put_document("c", "1", {"title": LONE}, "applied"),
        lambda: b"".join(chunks([f'{{"id": "{LONE}"}}'])),
        lambda: RequestWriter(address_of("http://g"), None).whole(
            calls.suggest("c", LONE, "title", 10, None)
        ),
    ],
)
def test_text_that_is_not_unicode_is_refused(make: Callable[[], object]) -> None:
    """The error is one of the tree, as for anything else that the gateway would refuse."""
    with pytest.raises(BadRequestError, match="surrogates"):
        make()


def test_decimals_are_numbers() -> None:
    """What a database has as a number, to all of its digits, is a number for the gateway, too."""
    row = {"id": "1", "price": Decimal("19.90"), "more": [Decimal(3)]}
    assert document_body(row) == b'{"id":"1","price":19.90,"more":[3]}\n'


@pytest.mark.parametrize("documents", [{"id": "1"}, '{"id": "1"}', b'{"id": "1"}'])
async def test_one_document_is_not_taken_for_several(documents: Any) -> None:
    """A mapping, a text and bytes can be iterated, but hold no documents."""
    with pytest.raises(BadRequestError, match="give a list of documents"):
        list(chunks(documents))
    with pytest.raises(BadRequestError, match="give a list of documents"):
        [piece async for piece in chunks_of(documents)]


def test_a_text_is_not_taken_for_a_group_of_synonyms() -> None:
    """Its characters would become the synonyms."""
    with pytest.raises(BadRequestError, match="'pandas' where a list of texts belongs") as refused:
        calls.put_synonyms("c", (), {"bear": "pandas"})
    assert refused.value.field == "one_way.bear"
    with pytest.raises(BadRequestError, match="groups"):
        calls.put_synonyms("c", ["tv"], {})
    calls.put_synonyms("c", [("tv", "television")], {"bear": ("pandas",)})


@pytest.mark.parametrize("wait_s", [-1.0, math.nan])
def test_what_is_no_time_is_refused_by_name(wait_s: float) -> None:
    """It is said when the client is made, or the load begins, not by an error of a socket."""
    with pytest.raises(BadRequestError, match="margin_s"):
        Client(margin_s=wait_s)
    with pytest.raises(BadRequestError, match="connect_timeout_s"):
        AsyncClient(connect_timeout_s=wait_s)
    with pytest.raises(BadRequestError, match="timeout_s"):
        Client().index("c", [], timeout_s=wait_s)
    with pytest.raises(BadRequestError, match="connect_timeout_s"):
        Client(connect_timeout_s=0)
