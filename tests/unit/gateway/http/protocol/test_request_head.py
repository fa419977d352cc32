"""Heads of requests: which are loads, and how long their bodies are."""

import pytest

from hedgerow.gateway.http.protocol.refusal import RefusedError
from hedgerow.gateway.http.protocol.request_head import RequestHead


def head(
    *headers: tuple[bytes, bytes],
    method: bytes = b"POST",
    target: bytes = b"/",
    version: str = "1.1",
    is_upgrade: bool = False,
) -> RequestHead:
    """A head as the parser gives it."""
    return RequestHead(method, target, version, list(headers), is_upgrade)


@pytest.mark.parametrize(
    ("method", "target", "is_load"),
    [
        (b"POST", b"/v1/collections/films/documents", True),
        (b"POST", b"/v1/collections/films/documents?wait=logged", True),
        (b"POST", b"http://h/v1/collections/f%69lms/documents", True),
        (b"GET", b"/v1/collections/films/documents", False),
        (b"POST", b"/v1/collections/films/documents/1", False),
        (b"POST", b"/v1/collections/films/search", False),
        (b"POST", b"/v1/shards/1/breaker?/v1/collections/films/documents", False),
    ],
)
def test_a_load_is_known_by_its_target(method: bytes, target: bytes, is_load: bool) -> None:
    """Only a load of documents may take as long as it likes."""
    assert head(method=method, target=target).is_load == is_load


@pytest.mark.parametrize(
    ("headers", "num_bytes"),
    [
        ((), 0),
        (((b"content-length", b"12"),), 12),
        (((b"content-length", b"12 "),), 12),
        (((b"transfer-encoding", b"chunked"),), None),
        (((b"transfer-encoding", b"Chunked "),), None),
        (((b"content-encoding", b"utf-8"), (b"content-length", b"12")), 12),
    ],
)
def test_a_body_is_as_long_as_its_head_says(
    headers: tuple[tuple[bytes, bytes], ...], num_bytes: int | None
) -> None:
    """Without a header about it there is none; in chunks it is of any length."""
    assert head(*headers).body_bytes() == num_bytes


@pytest.mark.parametrize(
    ("bad", "field", "status"),
    [
        (head(version="0.9"), "version", 505),
        (head(version="2.0"), "version", 505),
        (head((b"transfer-encoding", b"gzip")), "Transfer-Encoding", 501),
        (head((b"transfer-encoding", b"gzip, chunked")), "Transfer-Encoding", 501),
        (head((b"transfer-encoding", b"chunked"), version="1.0"), "Transfer-Encoding", 400),
        (head((b"content-encoding", b"gzip")), "Content-Encoding", 415),
        (head((b"content-encoding", b"identity, BR ")), "Content-Encoding", 415),
        (head((b"content-length", b"1"), is_upgrade=True), "Upgrade", 400),
        (head(target=b"*", method=b"OPTIONS"), "target", 400),
        (head(target=b"h:1", method=b"CONNECT"), "target", 400),
        (head((b"host", b"h"), target=b"http://evil/"), "target", 400),
        (head((b"host", b"h"), (b"host", b"evil"), target=b"http://evil/"), "target", 400),
    ],
)
def test_what_others_might_read_otherwise_is_refused(
    bad: RequestHead, field: str, status: int
) -> None:
    """The refusal names what is at fault."""
    with pytest.raises(RefusedError, match=f"^{field}: ") as refused:
        bad.body_bytes()
    assert refused.value.status == status
    answer = refused.value.to_bytes(b"date: now\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"date: now\r\n" in answer
    assert b'"field":"%b"' % field.encode() in answer
