"""The health check of a gateway's container."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from hedgerow.common.settings.settings import load_settings
from hedgerow.gateway import health
from hedgerow.gateway.health import Listener
from hedgerow.gateway.http.server.certificate import make_context


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for a name that no loopback interface has, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    issued = trustme.CA().issue_cert("search.example")
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return cert, key


@contextmanager
def answering(status: int, files: tuple[Path, Path] | None = None) -> Iterator[Listener]:
    """What answers to /readyz as a gateway does, over HTTPS with a certificate; its settings."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    if files is not None:
        server.socket = make_context(*files).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        # As in a container, where it binds all addresses.
        yield Listener("0.0.0.0", server.server_port, files[0] if files else None)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_gateway_is_asked_over_http_or_https_by_its_settings(files: tuple[Path, Path]) -> None:
    """With a certificate, for any name, it is asked over HTTPS; without one, over HTTP."""
    with answering(200) as listener:
        assert health.unready_because(listener) is None
    with answering(200, files) as listener:
        assert health.unready_because(listener) is None


def test_one_that_is_not_ready_is_unhealthy(files: tuple[Path, Path]) -> None:
    """So is one that speaks HTTP where its settings say HTTPS, and one that is not there."""
    with answering(503, files) as listener:
        assert health.unready_because(listener) == "/readyz answers 503"
    with answering(200) as listener:
        wrong = listener._replace(tls_cert=files[0])
        assert "SSLError" in str(health.unready_because(wrong))
    assert "ConnectionRefusedError" in str(health.unready_because(listener))


def test_the_command_goes_by_the_environment(
    files: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 0 while it is ready; then 1, and why."""
    with answering(200, files) as listener:
        for name, value in (
            ("HOST", "0.0.0.0"),
            ("PORT", listener.port),
            ("TLS_CERT", files[0]),
            ("TLS_KEY", files[1]),
        ):
            monkeypatch.setenv(f"HEDGEROW_GATEWAY__{name}", str(value))
        assert health.run() == 0
    assert health.run() == 1
    assert "ConnectionRefusedError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "has_file", "is_plain"),
    [
        ({}, False, True),
        ({"HOST": "0.0.0.0", "PORT": "81"}, False, True),
        ({"TOKEN": "t", "ALLOWED_HOSTS": '["a"]'}, False, True),
        ({}, True, False),
        ({"TLS_CERT": "/cert.pem"}, False, False),
        ({"PORT": "all"}, False, False),
        ({"port": "81"}, False, False),
    ],
)
def test_the_settings_are_read_unless_two_variables_say_all(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], has_file: bool, is_plain: bool
) -> None:
    """Where they are not read, what the two variables say is what the settings would say."""
    named = {f"HEDGEROW_GATEWAY__{name}": value for name, value in variables.items()}
    found = health.plain(named, has_file=has_file)
    assert (found is not None) == is_plain
    if found is not None:
        for name, value in named.items():
            monkeypatch.setenv(name, value)
        read = load_settings().gateway
        assert found == Listener(read.host, read.port, read.tls_cert)


def test_the_check_of_plain_http_imports_no_settings() -> None:
    """It takes a fraction of the CPU that it would take otherwise."""
    code = "import sys, hedgerow.gateway.health as h; h.run(); print('pydantic' in sys.modules)"
    environment = {**os.environ, "HEDGEROW_GATEWAY__PORT": "1"}
    asked = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (asked.stdout, "Refused" in asked.stderr) == ("False\n", True)


@pytest.mark.parametrize(("bound", "asked"), [("0.0.0.0", "127.0.0.1"), ("::", "::1")])
def test_where_all_addresses_are_bound_the_loopback_interface_is_asked(
    bound: str, asked: str
) -> None:
    """Of the same protocol."""
    reason = health.unready_because(Listener(bound, 1))
    assert str(reason).startswith(f"{asked} port 1: ")


def test_the_containers_use_it() -> None:
    """No health check of the gateway in compose.yaml speaks one of the two alone."""
    text = (Path(__file__).parents[3] / "compose.yaml").read_text(encoding="utf-8")
    assert "test: [CMD, python, -m, hedgerow.gateway.health]" in text
    assert "http://127.0.0.1" not in text
