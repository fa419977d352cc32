"""Servers of Redis that speak TLS alone: Debian's can, the wheel's cannot."""

import shutil
from pathlib import Path

import trustme

from bench.harness.sentinels import Tls
from tests.support.needs import missing


def tls_in(folder: Path) -> Tls:
    """A server's program, and certificates for 127.0.0.1 in a folder; skips without the program."""
    binary = shutil.which("redis-server")
    if binary is None:
        missing("redis-server (apt-get install redis-server)")
    assert binary is not None
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    tls = Tls(Path(binary), folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(tls.ca)
    certificate.cert_chain_pems[0].write_to_path(tls.cert)
    certificate.private_key_pem.write_to_path(tls.key)
    return tls
