"""The cluster that is attacked: `gateway up` with its defaults, and documents of real text."""

import contextlib
import functools
import http.client
import itertools
import json
import os
import resource
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trustme

from hedgerow.gateway.cli.loading import python_docs
from tests.support.processes import is_alive, kill_all_of
from tests.support.up import Announcement, up_command
from tests.support.waiting import block_until

COLLECTION = "normal"
NUM_DOCUMENTS = 20_000
_MAX_TEXT_CHARS = 600
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 40.0
_FIELDS = {
    "name": "text",
    "doc": "text",
    "kind": "keyword",
    "package": "keyword",
    "line": "integer",
}


@dataclass(frozen=True, slots=True)
class Ground:
    """The cluster that an attack needs; attacks on equal grounds share one.

    Attributes:
        environment: settings of the cluster that differ from the defaults.
        config: text of its hedgerow.toml, or "".
        max_files: its limit of open files (ulimit -n); None for that of this process.
        tmpfs_mb: size of a file system of its own for its data; None for a plain folder.
        num_documents: how many documents the normal client searches.
        has_tls: whether its gateway speaks HTTPS.
    """

    environment: tuple[tuple[str, str], ...] = ()
    config: str = ""
    max_files: int | None = None
    tmpfs_mb: int | None = None
    num_documents: int = NUM_DOCUMENTS
    has_tls: bool = False


AS_IT_COMES = Ground()


class ClusterError(Exception):
    """The cluster does not answer as it should."""


@dataclass
class Cluster:
    """A running `gateway up --shards 2 --workers 1`.

    Attributes:
        host: where its gateway answers.
        port: the same.
        data: its data folder.
        pids: `redis`, `gateway` and `worker-0` → process.
    """

    ground: Ground
    folder: Path
    host: str = ""
    port: int = 0
    pids: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    @property
    def url(self) -> str:
        """Where its gateway answers."""
        return f"{'https' if self.ground.has_tls else 'http'}://{self.host}:{self.port}"

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Its clients' TLS context; None if they do not encrypt."""
        return unverified() if self.ground.has_tls else None

    @property
    def output(self) -> bytes:
        """What it has printed so far."""
        return (self.folder / "output").read_bytes()

    def escapes_since(self, size: int) -> list[str]:
        """Complaints about escape characters in its output beyond the first `size` bytes."""
        printed = self.output[size:]
        found = next((code for code in (b"\x1b", b"\x07", b"\x9b") if code in printed), None)
        if found is None:
            return []
        place = printed.index(found)
        return [f"escape characters were printed: {printed[max(0, place - 60) : place + 60]!r}"]

    def start(self) -> None:
        """Start it, and return when it is ready.

        Raises:
            ClusterError: it has ended, or is not ready in time; says what it printed.
        """
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("HEDGEROW_")
        }
        environment.update(self.ground.environment)
        if self.ground.has_tls:
            environment.update(self._make_certificate())
        if self.ground.config:
            config = self.folder / "hedgerow.toml"
            config.write_text(self.ground.config, encoding="utf-8")
            environment["HEDGEROW_CONFIG"] = str(config)
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                up_command(self.data, "--shards", "2", "--workers", "1"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        if self.ground.max_files is not None:  # in time: its children start much later
            limits = (self.ground.max_files, self.ground.max_files)
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, limits)
        process = self.process
        with contextlib.suppress(TimeoutError):
            block_until(
                lambda: self._is_announced() or process.poll() is not None, _START_TIMEOUT_S
            )
        if not self.port:
            said = self.output.decode(errors="replace")[-2000:]
            self.stop()
            raise ClusterError(f"gateway up is not ready: {said}")

    def _make_certificate(self) -> dict[str, str]:
        """Issue a certificate with an RSA key, whose handshakes cost most; the settings of both."""
        issued = trustme.CA(key_type=trustme.KeyType.RSA).issue_cert(
            "localhost", key_type=trustme.KeyType.RSA
        )
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return {"HEDGEROW_GATEWAY__TLS_CERT": str(cert), "HEDGEROW_GATEWAY__TLS_KEY": str(key)}

    def _is_announced(self) -> bool:
        announced = Announcement()
        for line in self.output.decode(errors="replace").splitlines():
            announced.read(line)
        self.pids.update(announced.pids)
        if announced.url:
            url = urlsplit(announced.url)
            self.host, self.port = url.hostname or "", url.port or 0
        return self.port != 0

    def stop(self) -> None:
        """End it, and remove whatever it has left."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            kill_all_of(self.process.pid)
            self.process.kill()
            self.process.wait(10)
        for pid in self.pids.values():
            if is_alive(pid):
                kill_all_of(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process = None

    # What the ring itself asks

    def call(
        self, method: str, path: str, body: bytes | None = None, timeout_s: float = 60.0
    ) -> tuple[int, Any]:
        """Ask the gateway; status, and the body as JSON (None if it is none)."""
        connection: http.client.HTTPConnection
        if self.tls is None:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        else:
            connection = http.client.HTTPSConnection(
                self.host, self.port, timeout=timeout_s, context=self.tls
            )
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(raw)
        except ValueError:
            return answer.status, None

    def status(self) -> dict[str, Any]:
        """The state of the cluster.

        Raises:
            ClusterError: it does not answer.
        """
        try:
            status, body = self.call("GET", "/v1/status", timeout_s=10.0)
        except OSError as error:
            raise ClusterError(f"GET /v1/status: {error}") from error
        if status != 200:
            raise ClusterError(f"GET /v1/status: {status}")
        found: dict[str, Any] = body
        return found

    def load(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> None:
        """Load documents until they can be found.

        Raises:
            ClusterError: they were not all taken.
        """
        self.call("PUT", f"/v1/collections/{collection}", json.dumps({"fields": _FIELDS}).encode())
        lines = b"".join(json.dumps(document).encode() + b"\n" for document in documents)
        status, body = self.call("POST", f"/v1/collections/{collection}/documents", lines, 120.0)
        if status != 200 or body["accepted"] != len(documents):
            raise ClusterError(f"load of {len(documents)} documents: {status} {body}")


def unverified() -> ssl.SSLContext:
    """A client's context that accepts any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@contextlib.contextmanager
def running_cluster(ground: Ground) -> Iterator[Cluster]:
    """A cluster with its documents, for the block; nothing is left of it afterwards.

    Raises:
        ClusterError: it does not start, or does not take the documents.
    """
    # Not below a long folder: the path of a Unix socket may have about 100 characters.
    with tempfile.TemporaryDirectory(prefix="hedgerow-hostile-") as name:
        folder = Path(name)
        with contextlib.ExitStack() as opened:
            if ground.tmpfs_mb is not None:
                opened.enter_context(file_system(folder, ground.tmpfs_mb))
            cluster = Cluster(ground, folder)
            opened.callback(cluster.stop)
            cluster.start()
            cluster.load(COLLECTION, documents()[: ground.num_documents])
            yield cluster


@contextlib.contextmanager
def file_system(folder: Path, size_mb: int) -> Iterator[None]:
    """A small file system on `folder`."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=0700", "hedgerow-hostile"]
    subprocess.run([*command, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@functools.cache
def documents() -> list[dict[str, Any]]:
    """Short texts that every machine has: docstrings of Python and of installed packages."""
    found = []
    for document in itertools.islice(python_docs.documents(0), NUM_DOCUMENTS):
        kept = {name: document[name] for name in _FIELDS}
        found.append({"id": document["id"], **kept, "doc": document["doc"][:_MAX_TEXT_CHARS]})
    if len(found) < NUM_DOCUMENTS:
        raise ClusterError(f"this Python has {len(found)} docstrings; {NUM_DOCUMENTS} are needed")
    return found
