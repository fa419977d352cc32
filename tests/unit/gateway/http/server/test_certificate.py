"""A certificate's files: what is refused at the start, and what happens when they change."""

import ssl
from pathlib import Path

import pytest
import structlog
import trustme
from pydantic import ValidationError

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.server.certificate import Certificate


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority that issues certificates."""
    return trustme.CA()


class Files:
    """A certificate and its key in a folder."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self._authority = authority
        self.replace("a.example")

    def replace(self, name: str, *, only_cert: bool = False) -> None:
        """Put another certificate there, and its key."""
        issued = self._authority.issue_cert(name)
        self.cert.write_bytes(issued.cert_chain_pems[0].bytes())
        if not only_cert:
            self.key.write_bytes(issued.private_key_pem.bytes())


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    """The files of a valid certificate."""
    return Files(tmp_path, authority)


def shown(certificate: Certificate, authority: trustme.CA, name: str) -> bool:
    """Whether a client accepts the server as `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    ends = [(ssl.MemoryBIO(), ssl.MemoryBIO()), (ssl.MemoryBIO(), ssl.MemoryBIO())]
    client = context.wrap_bio(*ends[0], server_hostname=name)
    server = certificate.context.wrap_bio(*ends[1], server_side=True)
    for _ in range(3):
        for end, (mine, other) in zip((client, server), ((0, 1), (1, 0)), strict=True):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError:
                return False
            ends[other][0].write(ends[mine][1].read())
    return True


def test_without_the_settings_there_is_no_tls() -> None:
    """Plain HTTP is the default."""
    assert Certificate.of(GatewaySettings()) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tls_cert": Path("c")}, "tls_key is not set, but tls_cert is"),
        ({"tls_key": Path("k")}, "tls_cert is not set, but tls_key is"),
    ],
)
def test_one_file_alone_is_refused(given: dict[str, Path], message: str) -> None:
    """Certificate and key belong together."""
    with pytest.raises(ValidationError, match=message) as refused:
        GatewaySettings(**given)
    assert refused.value.errors()[0]["loc"] == ("tls_key",)


def test_files_that_cannot_be_used_are_named(files: Files, tmp_path: Path) -> None:
    """The error names the setting, the file and the reason."""
    text = tmp_path / "text"
    text.write_text("no PEM")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    wrong_key = Files(elsewhere, files._authority).key
    encrypted = tmp_path / "encrypted.pem"
    header = b"-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,%b\n\n" % (b"0" * 32)
    encrypted.write_bytes(files.key.read_bytes().replace(b"-----\n", header, 1))
    missing = tmp_path / "missing"
    for cert, private, message in [
        (missing, files.key, rf"^gateway\.tls_cert: {missing}: No such file"),
        (files.cert, missing, rf"^gateway\.tls_key: {missing}: No such file"),
        (tmp_path, files.key, rf"^gateway\.tls_cert: {tmp_path}: Is a directory"),
        (text, files.key, rf"^gateway\.tls_cert: {text} is not a certificate in PEM"),
        (files.key, files.key, rf"^gateway\.tls_cert: {files.key} is not a certificate in PEM"),
        (files.cert, text, rf"^gateway\.tls_key: {text} is not a private key in PEM"),
        (files.cert, files.cert, rf"^gateway\.tls_key: {files.cert} is not a private key in PEM"),
        (files.cert, wrong_key, rf"^gateway\.tls_key: {wrong_key} is not the key of the cert"),
        (files.cert, encrypted, rf"^gateway\.tls_key: {encrypted} is encrypted"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            Certificate.of(GatewaySettings(tls_cert=cert, tls_key=private))


def test_files_that_change_are_reread(files: Files, authority: trustme.CA) -> None:
    """New connections are shown the new certificate; between the two files, the last good one."""
    certificate = Certificate(files.cert, files.key)
    assert not certificate.look()
    assert shown(certificate, authority, "a.example")
    files.replace("b.example", only_cert=True)
    with structlog.testing.capture_logs() as logs:
        assert not certificate.look()
        assert not certificate.look()
    assert [one["event"] for one in logs] == ["certificate_broken"]
    assert shown(certificate, authority, "a.example")
    files.replace("c.example")
    assert certificate.look()
    assert shown(certificate, authority, "c.example")
    assert not shown(certificate, authority, "a.example")


def test_files_that_are_gone_are_kept_in_mind(files: Files, authority: trustme.CA) -> None:
    """A gateway serves on while its files are missing, and reads them when they are back."""
    certificate = Certificate(files.cert, files.key)
    files.cert.unlink()
    assert not certificate.look()
    assert shown(certificate, authority, "a.example")
    files.replace("d.example")
    assert certificate.look()
    assert shown(certificate, authority, "d.example")
