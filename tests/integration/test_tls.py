"""A gateway with a certificate: what `gateway serve` and `gateway up` say, and who can ask them."""

import asyncio
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from hedgerow.common.errors import NotFoundError, UnavailableError
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.gateway.cli.serve import listen
from hedgerow.gateway.client import AsyncClient, Client
from hedgerow.gateway.http.server.certificate import Certificate
from hedgerow.gateway.http.server.connection_table import ConnectionTable
from hedgerow.gateway.http.server.server import HttpServer
from tests.integration.support.serve import serving, url_of
from tests.support.commands import GATEWAY
from tests.support.launching import launch_and_wait
from tests.support.servers import RedisServer
from tests.support.up import Up
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Files:
    """A certificate for this machine, its key, and the authority that issued it."""

    authority: trustme.CA
    cert: Path
    key: Path
    ca_file: Path

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a gateway that shows it."""
        return {
            "HEDGEROW_GATEWAY__TLS_CERT": str(self.cert),
            "HEDGEROW_GATEWAY__TLS_KEY": str(self.key),
        }

    def replace(self, name: str) -> None:
        """Put another certificate there."""
        issued = self.authority.issue_cert(name)
        self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A certificate by an authority that no system trusts."""
    files = Files(trustme.CA(), *(tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem")))
    files.authority.cert_pem.write_to_path(files.ca_file)
    files.replace("127.0.0.1")
    return files


@pytest.fixture
def url(
    redis_server: RedisServer, key_prefix: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The URL of a `gateway serve` with that certificate."""
    for name, value in files.environment.items():
        monkeypatch.setenv(name, value)
    with serving(redis_server.url, key_prefix) as process:
        yield url_of(process)


def gateway(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `gateway`."""
    return launch_and_wait([*GATEWAY, *arguments], env={**os.environ, **environment})


def test_clients_that_trust_the_authority_are_answered(url: str, files: Files) -> None:
    """The Python client and the commands take a file of authorities, or the system's."""
    assert url.startswith("https://127.0.0.1:")
    with Client(url, verify=files.ca_file) as client:
        for _ in range(2):
            with pytest.raises(NotFoundError, match="none"):
                client.search("none", "a")
        assert not client.is_ready()  # no worker is there
    shown = gateway("status", "--url", url, "--json", "--ca-file", str(files.ca_file))
    assert json.loads(shown.stdout)["shards"]
    by_variable = {"HEDGEROW_URL": url, "HEDGEROW_CA_FILE": str(files.ca_file)}
    assert "none" in gateway("query", "a", "--collection", "none", **by_variable).stderr
    with Client(url) as client, pytest.raises(UnavailableError, match="certificate verify failed"):
        client.status()
    untrusted = gateway("status", "--url", url)
    assert untrusted.returncode == 1
    assert "certificate verify failed" in untrusted.stderr


def test_a_client_without_tls_gets_no_answer(url: str) -> None:
    """There is no plain HTTP beside HTTPS."""
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"HTTP" not in plain.recv(1000)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"HEDGEROW_GATEWAY__TLS_CERT": "cert.pem"}, "gateway.tls_key: tls_key is not set"),
        (
            {"HEDGEROW_GATEWAY__TLS_CERT": "no", "HEDGEROW_GATEWAY__TLS_KEY": "no"},
            "gateway.tls_cert: no: No such file",
        ),
    ],
)
@pytest.mark.parametrize("command", ["serve", "up"])
def test_settings_that_cannot_be_used_are_one_line(
    command: str, given: dict[str, str], message: str, tmp_path: Path
) -> None:
    """The command ends with 1 before anything starts, and names the setting."""
    ended = gateway(command, "--port", "0", **given, HEDGEROW_DATA=str(tmp_path))
    assert ended.returncode == 1
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_a_cluster_with_a_certificate(tmp_path: Path, files: Files) -> None:
    """`gateway up` gets ready, says https, and answers over it, as with any certificate's names."""
    files.replace("search.example")
    environment: dict[str, Any] = dict(files.environment)
    up = await Up.start(tmp_path / "data", "--shards", "1", "--workers", "1", **environment)
    try:
        assert up.url.startswith("https://127.0.0.1:"), up.output
        context = ssl.create_default_context(cafile=files.ca_file)
        context.check_hostname = False
        async with AsyncClient(up.url, verify=context) as client:
            await client.put_collection("films", fields={"title": "text"})
            lines = [{"id": str(number), "title": f"wing {number}"} for number in range(2000)]
            loaded = await client.index("films", lines, wait="applied")
            assert loaded.accepted == 2000
            answers = await client.search_many(
                "films", ["wing"] * 50, concurrency=4, deadline_ms=10_000.0
            )
            assert {answer.total_hits.value for answer in answers} == {2000}
    finally:
        assert await up.stop() == 0


async def answer(_scope: Any, receive: Any, send: Any) -> None:
    """Answer with 1 MB."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * 1_000_000})


async def shown_at(port: int) -> str:
    """The name in the certificate that a server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return "search.example" if b"search.example" in shown else "127.0.0.1"


async def test_a_new_certificate_is_shown_without_a_restart(files: Files) -> None:
    """Connections that are open go on with the old one; others get the new one."""
    certificate = Certificate(files.cert, files.key)
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    table = ConnectionTable(ConnectionSettings(), Counters())
    server = HttpServer(answer, table, certificate)
    await server.start(listener)
    context = ssl.create_default_context(cafile=files.ca_file)
    async with certificate.running(interval_s=0.01):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        assert await shown_at(port) == "127.0.0.1"
        files.replace("search.example")

        async def is_new() -> bool:
            return await shown_at(port) == "search.example"

        await until(is_new)
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert rest.count(b"x") == 1_000_000
        writer.close()
        await server.drain(10.0)
    assert table.num_connections == 0
