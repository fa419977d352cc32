"""The client's TLS, of both kinds: what it trusts, and that it is as good as without."""

import ssl
from pathlib import Path

import pytest
import trustme

from hedgerow.common.errors import TooLargeError, UnavailableError
from tests.integration.support import either_kind
from tests.integration.support.either_kind import (
    DOCUMENT,
    LOADED,
    EitherKind,
    answer_all,
    answer_to,
    endless,
    query_of,
    refuse_early,
)
from tests.integration.support.raw_server import Connection, RawServer

pytestmark = pytest.mark.integration


either = either_kind.either


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that no system trusts."""
    return trustme.CA()


def tls_of(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """The TLS context of a server with these names."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """A context that trusts this authority, and no other."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_tls_keeps_its_connections_and_takes_loads(
    either: EitherKind, authority: trustme.CA
) -> None:
    """An encrypted connection serves many requests, of any length."""
    received = 0

    def serve(connection: Connection) -> None:
        nonlocal received
        for _ in range(3):
            request = connection.read_request()
            assert request is not None
            connection.answer(answer_to(query_of(request[1])))
        connection.read_head()
        received = len(connection.read_chunks())
        connection.answer(LOADED)
        connection.read_to_end()

    with RawServer(serve, tls_of(authority, "127.0.0.1")) as server:
        call = either.connect(server.url, verify=trusting(authority))
        for query in "abc":
            assert call("search", "films", query).warnings == [query]
        assert call("index", "films", [DOCUMENT] * 3000).accepted == 1
        assert server.num_accepted == 1
    assert received > 3_000_000


def test_a_load_that_is_refused_before_its_end_stops_with_tls_too(
    either: EitherKind, authority: trustme.CA
) -> None:
    """The session tickets that come before the answer are not taken for it."""
    with RawServer(refuse_early, tls_of(authority, "127.0.0.1")) as server:
        call = either.connect(server.url, verify=trusting(authority))
        with pytest.raises(TooLargeError, match="too large"):
            call("index", "films", endless([0]))


def test_a_certificate_of_an_unknown_authority_is_refused(
    either: EitherKind, authority: trustme.CA
) -> None:
    """By default only the authorities that the system trusts are accepted."""
    with RawServer(answer_all, tls_of(authority, "127.0.0.1")) as server:
        with pytest.raises(UnavailableError, match="certificate verify failed"):
            either.connect(server.url)("search", "films", "a")
        unchecked = either.connect(server.url, verify=False)
        assert unchecked("search", "films", "a").warnings == ["a"]


def test_the_system_s_authorities_are_those_of_openssl(
    either: EitherKind, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SSL_CERT_FILE names another file of them, as for any program that uses OpenSSL."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with RawServer(answer_all, tls_of(authority, "127.0.0.1")) as server:
        assert either.connect(server.url)("search", "films", "a").warnings == ["a"]


def test_a_certificate_for_another_host_is_refused(
    either: EitherKind, authority: trustme.CA
) -> None:
    """A certificate must be for the host of the URL."""
    with RawServer(answer_all, tls_of(authority, "elsewhere.example")) as server:
        call = either.connect(server.url, verify=trusting(authority))
        with pytest.raises(UnavailableError, match="certificate verify failed"):
            call("search", "films", "a")


def test_a_handshake_that_does_not_end_is_bounded(either: EitherKind) -> None:
    """It is a part of connecting, and of its timeout."""
    with RawServer(Connection.read_to_end) as server:
        call = either.connect(f"https://{server.address}", connect_timeout_s=0.1, verify=False)
        with pytest.raises(UnavailableError, match=r"did not answer in time \(connect\)"):
            call("search", "films", "a")
