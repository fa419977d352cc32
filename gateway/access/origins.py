"""Decides which web pages may write through a browser. Pure.

A browser sends some requests for any page to any server, including a POST of text (a "simple
request" of https://fetch.spec.whatwg.org/#http-cors-protocol), and only hides the answer from the
page. The headers `Origin` and `Sec-Fetch-Site` name the page's origin. Programs other than browsers
send neither.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from hedgerow.common.errors import ForbiddenError

# Methods that change nothing (RFC 9110, 9.2.1).
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_OTHER_SITES: Final = frozenset({b"cross-site", b"same-site"})


class Origins:
    """The origins that may write: the gateway's own, and those of the settings."""

    def __init__(self, allowed: Iterable[str]) -> None:
        """Allow `allowed`, in addition to pages of the gateway's own host."""
        self.allowed = frozenset(origin.encode() for origin in allowed)

    def check(self, method: str, fields: Mapping[bytes, bytes]) -> None:
        """Refuse a write that a browser sends for a page of another origin.

        Args:
            method: the request's method.
            fields: its headers, with names in lower case.

        Raises:
            ForbiddenError: the page is of another origin.
        """
        if method in SAFE_METHODS:
            return
        origin = fields.get(b"origin")
        if origin is None:
            if fields.get(b"sec-fetch-site") in _OTHER_SITES:
                raise ForbiddenError("pages of other sites may not send this request")
            return
        if origin.lower() not in self.allowed and not _is_own(origin, fields.get(b"host", b"")):
            raise ForbiddenError(
                f"pages of origin {origin.decode(errors='replace')!r} may not send this "
                "request; gateway.cors_origins lists the origins that may"
            )


def _is_own(origin: bytes, host: bytes) -> bool:
    """Return whether a page is from the requested host; a proxy may have terminated TLS."""
    return origin.lower() in {scheme + host.lower() for scheme in (b"http://", b"https://")}
