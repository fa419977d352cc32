"""Loads of the client, of both kinds, to servers that misbehave."""

import threading
from collections.abc import Iterator

import pytest

from hedgerow.common.errors import TooLargeError, UnavailableError
from tests.integration.support import either_kind
from tests.integration.support.either_kind import (
    DOCUMENT,
    LOADED,
    EitherKind,
    endless,
    refuse_early,
)
from tests.integration.support.raw_server import Connection, RawServer

pytestmark = pytest.mark.integration


either = either_kind.either


def test_a_load_that_is_refused_before_its_end_stops(either: EitherKind) -> None:
    """The answer is taken when it comes, no more documents are drawn, and its connection goes."""
    with RawServer(refuse_early) as server:
        call = either.connect(server.url)
        with pytest.raises(TooLargeError, match="too large"):
            call("index", "films", endless([0]))
        assert call("search", "films", "a").warnings == ["a search"]
        assert server.num_accepted == 2


def test_a_load_of_nothing_is_one_body(either: EitherKind) -> None:
    """An empty piece does not end the body twice, which would spoil the connection."""
    bodies = []

    def serve(connection: Connection) -> None:
        while connection.read_head():
            bodies.append(connection.read_chunks())
            connection.answer(LOADED)

    with RawServer(serve) as server:
        call = either.connect(server.url)
        for _ in range(3):
            assert call("index", "films", []).accepted == 1
        assert server.num_accepted == 1
    assert bodies == [b"0\r\n\r\n"] * 3


def test_a_load_to_a_server_that_hangs_up_is_unavailable(either: EitherKind) -> None:
    """A connection that breaks under a load is an error of the tree."""

    def hang_up(connection: Connection) -> None:
        connection.read_head()

    with RawServer(hang_up) as server:
        call = either.connect(server.url)
        with pytest.raises(UnavailableError, match=f"no gateway answers at {server.url}: "):
            call("index", "films", endless([0]))


def test_a_server_that_does_not_read_stops_the_drawing(either: EitherKind) -> None:
    """What is drawn is bounded by what the system buffers, and the wait by the timeout."""
    is_over, drawn = threading.Event(), [0]

    def read_nothing(connection: Connection) -> None:
        connection.read_head()
        is_over.wait(timeout=60)

    with RawServer(read_nothing) as server:
        call = either.connect(server.url, margin_s=0.1)
        with pytest.raises(UnavailableError, match=r"did not answer in time \(write\)"):
            call("index", "films", endless(drawn), timeout_s=0.1)
        is_over.set()
    assert drawn[0] < 50_000  # of 1 KB each


def test_an_error_of_the_documents_stays_what_it_is(either: EitherKind) -> None:
    """A file that cannot be read is not taken for a gateway that does not answer."""

    def unreadable() -> Iterator[dict[str, str]]:
        yield DOCUMENT
        raise OSError("disk failed")

    with RawServer(Connection.read_to_end) as server:
        call = either.connect(server.url)
        with pytest.raises(OSError, match="disk failed"):
            call("index", "films", unreadable())
        with pytest.raises(TimeoutError, match="network file system"):
            call("index", "films", slow_file())


def slow_file() -> Iterator[dict[str, str]]:
    """A file whose reading times out, which is none of the gateway's timeouts."""
    yield DOCUMENT
    raise TimeoutError("network file system")
