"""Parses a gateway's URL."""

import base64
import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

_PORTS: Final = {"http": 80, "https": 443}
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
PATH_CHARACTERS: Final = (
    "/%:@!$&'()*+,;=~"  # allowed unescaped in a path, in addition to letters and digits
)


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a gateway's URL.

    Attributes:
        host: name or IP address to connect to, which a certificate must be for.
        is_tls: whether the URL is https.
        authority: host and port, as in the header Host.
        prefix: path before that of the interface, without a slash at the end.
        credentials: the header Authorization for a URL with a user and password; None for others.
    """

    host: str
    port: int
    is_tls: bool
    authority: str
    prefix: str
    credentials: str | None


def address_of(url: str) -> Address:
    """Parse a URL.

    Raises:
        ValueError: it is not the URL of a gateway.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS:
        raise ValueError("a gateway's URL begins with http:// or https://")
    if parts.query or parts.fragment:
        raise ValueError("a gateway's URL has no query and no fragment")
    host = _host(parts.hostname or "")
    port = _PORTS[parts.scheme] if parts.port is None else parts.port
    shown = f"[{host.partition('%')[0]}]" if ":" in host else host
    return Address(
        host,
        port,
        parts.scheme == "https",
        shown if port == _PORTS[parts.scheme] else f"{shown}:{port}",
        quote(parts.path.rstrip("/"), safe=PATH_CHARACTERS),
        _credentials(parts),
    )


def _host(name: str) -> str:
    if ":" in name:
        return str(ipaddress.IPv6Address(name))
    host = name.encode("idna").decode("ascii")
    if not _NAME.fullmatch(host):
        raise ValueError(f"{name!r} is not the name of a host")
    return host


def _credentials(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"
