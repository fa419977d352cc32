"""Pieces of a stream: none ends two requests, and nothing is parsed beyond the limits."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.http.protocol.refusal import RefusedError
from hedgerow.gateway.http.protocol.request_cutter import RequestCutter

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


class Reader:
    """Parses a stream by pieces, as a connection does, with no answers to wait for."""

    def __init__(self, max_head_bytes: int = 1000, max_headers: int = 1000) -> None:
        self.cutter = RequestCutter(max_head_bytes, max_headers)
        self.parser = httptools.HttpRequestParser(self)
        self.num_ended = 0
        self.most_ended_at_once = 0
        self.num_bytes = 0
        self.num_headers = 0
        self.body = b""

    def on_message_begin(self) -> None:
        """A request begins."""
        self.length: int | None = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note how long its body is."""
        self.num_headers += 1
        if name.lower() == b"content-length":
            self.length = int(value)
        elif name.lower() == b"transfer-encoding":
            self.length = None

    def on_headers_complete(self) -> None:
        """Its head ends."""
        self.cutter.expect_body(self.length)

    def on_body(self, body: bytes) -> None:
        """Keep a part of its body."""
        self.cutter.found_content()
        self.body += body

    def on_message_complete(self) -> None:
        """It ends."""
        self.cutter.expect_head()
        self.num_ended += 1

    def feed(self, data: bytes) -> None:
        """Parse what has come."""
        offset = 0
        while offset < len(data):
            end = self.cutter.end_of_piece(data, offset)
            assert end > offset
            before = self.num_ended
            self.parser.feed_data(data[offset:end])
            self.num_bytes += end - offset
            self.most_ended_at_once = max(self.most_ended_at_once, self.num_ended - before)
            offset = end

    def feed_by(self, data: bytes, size: int) -> None:
        """Parse what comes in packets of `size` bytes."""
        for start in range(0, len(data), size):
            self.feed(data[start : start + size])


requests = st.one_of(
    st.just(GET),
    st.just(b"\r\n\r\n" + GET),
    st.binary(max_size=40).map(
        lambda body: (
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
    ),
    st.lists(st.sampled_from([b"a", b"\r\n\r\n", b"\r\n\r\nGET / ", b"\n"]), max_size=4).map(
        lambda parts: (
            CHUNKED
            + b"".join(b"%x;x=y\r\n%b\r\n" % (len(part), part) for part in parts)
            + b"0\r\nT: v\r\n\r\n"
        )
    ),
)


@given(st.lists(requests, min_size=1, max_size=6), st.lists(st.integers(1, 60), min_size=1))
def test_no_piece_ends_two_requests(sent: list[bytes], sizes: list[int]) -> None:
    """However requests and packets are cut, a piece ends one request at most; all are parsed."""
    reader = Reader()
    stream = b"".join(sent)
    offset = 0
    for number in range(len(stream)):
        if offset >= len(stream):
            break
        size = sizes[number % len(sizes)]
        reader.feed(stream[offset : offset + size])
        offset += size
    assert reader.num_ended == len(sent)
    assert reader.most_ended_at_once == 1
    assert reader.num_bytes == len(stream)


@pytest.mark.parametrize(
    "line", [b"X: a\r\n", b"X: " + b"a" * 5000 + b"\r\n", b"\r\n", b"a" * 9000]
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_head_is_refused_before_it_is_parsed(line: bytes, size: int) -> None:
    """Of lines without end, or a line without end, the parser gets no more than the limit."""
    reader = Reader(max_head_bytes=1000)
    sent = (b"" if line == b"\r\n" else b"GET / HTTP/1.1\r\n") + line * (20_000 // len(line))
    with pytest.raises(RefusedError, match="more than 1000 bytes") as refused:
        reader.feed_by(sent, size)
    assert refused.value.status == 431
    assert reader.num_bytes <= 1000


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_too_many_headers_are_refused_before_they_are_parsed(size: int) -> None:
    """As many as the limit pass; with one more, and of thousands, the parser sees no more."""
    sent = b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 10
    reader = Reader(max_headers=10)
    reader.feed_by(sent + b"\r\n", size)
    assert (reader.num_ended, reader.num_headers) == (1, 10)
    for more in (1, 100):
        reader = Reader(max_headers=10)
        with pytest.raises(RefusedError, match="more than 10 header fields") as refused:
            reader.feed_by(sent + b"X: a\r\n" * more + b"\r\n", size)
        assert refused.value.status == 431
        assert reader.num_headers <= 11


def test_each_head_has_its_own_limit() -> None:
    """Heads below the limit pass, whatever they are together."""
    reader = Reader(max_head_bytes=len(GET))
    for _ in range(50):
        reader.feed(GET)
    assert reader.num_ended == 50


@pytest.mark.parametrize("endless", [b"1;" + b"x" * 100_000, b"0\r\n" + b"T: v\r\n" * 20_000])
@pytest.mark.parametrize("size", [100, 100_000])
def test_a_body_of_framing_alone_is_refused(endless: bytes, size: int) -> None:
    """Chunk extensions and trailers without end are not parsed without end."""
    reader = Reader(max_head_bytes=1000)
    sent = CHUNKED + endless
    with pytest.raises(RefusedError, match="chunk extensions or trailers"):
        reader.feed_by(sent, size)
    assert reader.num_bytes < 20_000


@pytest.mark.parametrize("beyond", range(-6, 7))
def test_the_end_of_a_body_is_found_wherever_it_is(beyond: int) -> None:
    """A body's end is the end of a piece, also where pieces end because they are long enough."""
    size = 16_384 + beyond
    content = b"a" * (size - len(b"4000\r\n\r\n0\r\n\r\n"))
    reader = Reader()
    reader.feed(CHUNKED)
    reader.feed(b"%04x\r\n%b\r\n0\r\n\r\n" % (len(content), content) + GET)
    assert reader.num_ended == 2
    assert reader.most_ended_at_once == 1


def test_small_chunks_are_content() -> None:
    """A long body in chunks of a byte each passes."""
    reader = Reader(max_head_bytes=1000)
    reader.feed(CHUNKED + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n")
    assert reader.body == b"a" * 50_000
    assert reader.num_ended == 1
