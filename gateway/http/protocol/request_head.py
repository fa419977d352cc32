"""Checks of a request's head, in addition to the parser's, and the framing of its body.

A request is refused if another HTTP implementation in front of the gateway might interpret it
differently, so that the two cannot disagree on where a request ends (request smuggling,
https://www.rfc-editor.org/rfc/rfc9112#section-11.2). The parser (llhttp) already refuses a
Transfer-Encoding beside a Content-Length, a Content-Length that is repeated or not a number, bare
CR and LF, folded lines, and control characters.
"""

import re
from typing import Final, NamedTuple

from hedgerow.gateway.http.protocol.refusal import RefusedError

_VERSIONS: Final = ("1.1", "1.0")
_COMPRESSED: Final = frozenset({b"br", b"compress", b"deflate", b"gzip", b"x-gzip", b"zstd"})
_absolute = re.compile(rb"https?://([^/?#]+)/", re.IGNORECASE).match
_load_path = re.compile(rb"[^?#]*/v1/collections/[^/?#]+/documents/?(?:[?#]|\Z)").match


class RequestHead(NamedTuple):
    """A head as the parser has read it.

    Attributes:
        method: as sent.
        target: as sent.
        version: for example `1.1`.
        headers: names in lower case, and values.
        is_upgrade: whether the client asks for another protocol.
        keeps_alive: whether the client lets the connection stay open after the answer.
    """

    method: bytes
    target: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    is_upgrade: bool
    keeps_alive: bool = True

    @property
    def is_load(self) -> bool:
        """Whether it is a bulk load."""
        return self.method == b"POST" and _load_path(self.target) is not None

    @property
    def has_expect(self) -> bool:
        """Whether it has an Expect header, so that the body may never be sent."""
        return any(name == b"expect" for name, _ in self.headers)

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for an interim answer before it sends the body."""
        return self.version != "1.0" and any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers
        )

    def body_bytes(self) -> int | None:
        """Return the length of the body; None for a chunked body.

        Raises:
            RefusedError: it is not HTTP/1.1, or uses a part that the gateway does not support.
        """
        if self.version not in _VERSIONS:
            raise RefusedError.malformed("version", "should be HTTP/1.1 or HTTP/1.0", 505)
        if self.target[:1] != b"/":
            self._check_url()
        length = 0
        is_chunked = False
        for name, value in self.headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                is_chunked = True
                self._check_coding(value)
            elif name == b"content-encoding" and _COMPRESSED.intersection(_codings(value)):
                # Its bytes would be read as text, and every line of a load be rejected.
                raise RefusedError.malformed(
                    "Content-Encoding", "should be absent: compressed bodies are not read", 415
                )
        if self.is_upgrade and (length or is_chunked):
            # The parser would take the body for data of the other protocol.
            raise RefusedError.malformed("Upgrade", "should not come with a body")
        return None if is_chunked else length

    def _check_url(self) -> None:
        absolute = _absolute(self.target)
        if absolute is None or self.method == b"CONNECT":
            raise RefusedError.malformed("target", "should be a path that begins with /")
        hosts = [value.strip().lower() for name, value in self.headers if name == b"host"]
        # Checks of the Host field must not be bypassed by naming another host in the target.
        if hosts != [absolute[1].lower()]:
            raise RefusedError.malformed("target", "should name the host of the Host header")

    def _check_coding(self, value: bytes) -> None:
        if self.version == "1.0":
            raise RefusedError.malformed("Transfer-Encoding", "is not known to HTTP/1.0")
        if value.strip().lower() != b"chunked":
            raise RefusedError.malformed("Transfer-Encoding", "should be chunked", 501)


def _codings(value: bytes) -> list[bytes]:
    return [coding.strip().lower() for coding in value.split(b",")]
