"""How answers are read from the bytes of a connection."""

import http.client
import io
import itertools
import socket
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.client.network.response import MAX_HEAD_BYTES, ResponseReader

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def read(*pieces: bytes, is_ended: bool = False) -> ResponseReader:
    """Feed a new reader that expects one answer."""
    reader = ResponseReader()
    reader.expect()
    for piece in pieces:
        reader.feed(piece)
    if is_ended:
        reader.end()
    return reader


class Recorded:
    """A socket from which http.client reads what was recorded."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        """Read from the beginning."""
        return io.BytesIO(self._data)


def by_http_client(data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Read an answer by the standard library."""
    response = http.client.HTTPResponse(cast("socket.socket", Recorded(data)))
    response.begin()
    headers: dict[str, str] = {}
    for name, value in response.getheaders():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return response.status, headers, response.read()


def framed(framing: str, body: bytes) -> bytes:
    """Write the last headers of an answer, and its body."""
    if framing == "length":
        return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    if framing == "chunks":
        pieces = [body[at : at + 5] for at in range(0, len(body), 5)]
        written = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        return b"Transfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % written
    return b"\r\n" + body


NAMES = st.from_regex(r"X-[A-Za-z0-9-]{1,8}", fullmatch=True)
VALUES = st.from_regex(r"([!-~]([ -~]{0,8}[!-~])?)?", fullmatch=True)


@given(
    st.sampled_from([200, 201, 400, 404, 429, 503]),
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    st.sampled_from(["length", "chunks", "end"]),
    st.binary(max_size=40),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_an_answer_is_what_the_standard_library_reads(
    status: int, headers: list[tuple[str, str]], framing: str, body: bytes, cuts: list[int]
) -> None:
    """However the answer is framed, and wherever the network cuts it."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    data = f"HTTP/1.1 {status} Some words\r\n{lines}".encode() + framed(framing, body)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(places) if start < end]
    reader = read(*pieces, is_ended=framing == "end")
    assert reader.is_done
    assert reader.take() == by_http_client(data)
    assert reader.is_reusable is (framing != "end")


@given(st.integers(0, len(OK) - 1))
def test_an_answer_that_is_cut_short_is_none(length: int) -> None:
    """A connection that ends within an answer gives an error, and is never used again."""
    reader = read(OK[:length], is_ended=True)
    assert not reader.is_reusable
    with pytest.raises(ConnectionError, match="closed the connection"):
        reader.take()


def test_a_connection_is_used_for_one_answer_after_the_other() -> None:
    """Nothing of an answer is in the next one."""
    reader = read(b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 3\r\n\r\nbad")
    assert reader.take() == (503, {"retry-after": "7", "content-length": "3"}, b"bad")
    reader.expect()
    assert not reader.is_done
    reader.feed(OK)
    assert reader.take() == (200, {"content-length": "2"}, b"ok")
    assert reader.is_reusable


@pytest.mark.parametrize(
    "data",
    [
        OK + OK,
        OK + b"HTTP/1.1 2",
        OK + b"?",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_a_connection_is_not_used_again(data: bytes) -> None:
    """More arrived than was asked for, or the server closes it; the answer itself is good."""
    reader = read(data)
    assert reader.take()[::2] == (200, b"ok")
    assert not reader.is_reusable


def test_what_arrives_unasked_spoils_a_connection() -> None:
    """It would be taken for the next answer."""
    reader = read(OK)
    reader.feed(OK)
    assert not reader.is_reusable
    assert reader.take().body == b"ok"


def test_the_end_of_an_idle_connection_spoils_it() -> None:
    """A connection that the server has closed is not used."""
    assert not read(OK, is_ended=True).is_reusable


def test_what_comes_before_an_answer_is_not_it() -> None:
    """100 (Continue) and 103 (Early Hints) are read over, with their headers."""
    early = b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    reader = read(early, OK)
    assert reader.take() == (200, {"content-length": "2"}, b"ok")
    assert reader.is_reusable


@pytest.mark.parametrize(
    "data",
    [
        b"<h1>It works!</h1>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Changed\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
def test_what_is_not_http_is_no_answer(data: bytes) -> None:
    """An answer with an ambiguous end is an error, and its connection is closed."""
    reader = read(data)
    assert reader.is_done
    assert not reader.is_reusable
    with pytest.raises(ConnectionError, match=r"is not HTTP/1\.1"):
        reader.take()


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 103 Early\r\n"])
def test_headers_without_end_are_refused(start: bytes) -> None:
    """Headers without end do not fill the client's memory."""
    reader = ResponseReader()
    reader.expect()
    fed = 0
    while not reader.is_done:
        piece = start + b"X-Long: %b\r\n\r\n"[: -2 if b"200" in start else None] % (b"x" * 1000)
        reader.feed(piece if not fed or b"103" in start else piece[len(start) :])
        fed += len(piece)
    assert fed < MAX_HEAD_BYTES + 2000
    with pytest.raises(ConnectionError, match=f"more than {MAX_HEAD_BYTES} bytes"):
        reader.take()


def test_a_body_of_any_length_is_read() -> None:
    """The bound is on headers alone, wherever they end within a piece."""
    body = b"x" * (3 * MAX_HEAD_BYTES)
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    assert read(data).take().body == body
    assert read(data[:30], data[30:]).take().body == body


def test_trailers_are_not_headers() -> None:
    """What follows a chunked body is dropped, and the connection can be used again."""
    reader = read(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    assert reader.take() == (200, {"transfer-encoding": "chunked"}, b"ok")
    assert reader.is_reusable


def test_a_reason_for_the_end_is_told() -> None:
    """The error has the system's reason for a broken connection."""
    reader: Any = read()
    reader.end("[Errno 104] Connection reset by peer")
    with pytest.raises(ConnectionError, match="reset by peer"):
        reader.take()
