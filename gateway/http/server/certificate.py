"""The TLS certificate of a gateway, which is reread when its files change."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.runtime.ticks import sleep_to_tick
from hedgerow.common.settings.tls import TlsSettings

log = structlog.get_logger()

INTERVAL_S: Final = 5.0
_Version = tuple[tuple[int, int, int], ...]  # of both files: change time, size, inode


class Certificate:
    """A certificate and its key, as last read from their files.

    Attributes:
        context: the TLS context of new connections.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        """Read both files.

        Raises:
            ConfigurationError: they cannot be used; names the setting and the reason.
        """
        self._cert = cert
        self._key = key
        self._version = self._found()
        self._reason = ""
        self.context = make_context(cert, key)

    @classmethod
    def of(cls, settings: TlsSettings) -> "Certificate | None":
        """Read the certificate that the settings name; None for a gateway without TLS.

        Raises:
            ConfigurationError: as above.
        """
        if settings.tls_cert is None or settings.tls_key is None:
            return None
        return cls(settings.tls_cert, settings.tls_key)

    @asynccontextmanager
    async def running(self, interval_s: float = INTERVAL_S) -> AsyncIterator[None]:
        """Check every `interval_s` during the block whether the files have changed."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run(interval_s), name="certificate")
            try:
                yield
            finally:
                task.cancel()

    async def _run(self, interval_s: float) -> None:
        while True:
            await sleep_to_tick(interval_s)
            # In a thread, since the files may be on a slow disk.
            await asyncio.to_thread(self.look)

    def look(self) -> bool:
        """Reread the files if one has changed; returns whether the certificate has changed.

        If they are invalid, the last good ones are kept: when both files are replaced, they do not
        match for a moment.
        """
        found = self._found()
        if found == self._version:
            return False
        try:
            context = make_context(self._cert, self._key)
        except ConfigurationError as error:
            self._keep_last(str(error))
            return False
        self._version, self._reason = found, ""
        self.context = context
        log.info("certificate_read", file=str(self._cert))
        return True

    def _keep_last(self, reason: str) -> None:
        if reason != self._reason:  # log it once
            log.error("certificate_broken", reason=reason, kept="the last good one")
        self._reason = reason

    def _found(self) -> _Version:
        versions = []
        for path in (self._cert, self._key):
            try:
                status = path.stat()
                versions.append((status.st_mtime_ns, status.st_size, status.st_ino))
            except OSError:
                versions.append((0, 0, 0))
        return tuple(versions)


def make_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Make the TLS context of a server with certificate `cert` and private key `key`.

    Raises:
        ConfigurationError: they cannot be used; names the setting and the reason.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could request handshakes endlessly
    context.set_alpn_protocols(["http/1.1"])
    _check_readable("tls_cert", cert)
    _check_readable("tls_key", key)
    try:
        # A separate context, so that an error is known to concern the certificate.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=cert)
    except ssl.SSLError as error:
        raise ConfigurationError(f"gateway.tls_cert: {cert} is not a certificate in PEM") from error

    def refuse_encrypted() -> str:
        # Without this callback, OpenSSL would ask for the password on the terminal.
        raise ConfigurationError(f"gateway.tls_key: {key} is encrypted, which is not supported")

    try:
        context.load_cert_chain(cert, key, password=refuse_encrypted)
    except ssl.SSLError as error:
        reason = (
            f"{key} is not the key of the certificate {cert}"
            if error.reason == "KEY_VALUES_MISMATCH"
            else f"{key} is not a private key in PEM"
        )
        raise ConfigurationError(f"gateway.tls_key: {reason}") from error
    return context


def _check_readable(setting: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ConfigurationError(f"gateway.{setting}: {path}: {error.strerror}") from error
