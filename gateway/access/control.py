"""Decides on one request, by its Host name, the page that sent it, and its caller."""

import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from hedgerow.common.errors import (
    BadRequestError,
    ConfigurationError,
    ForbiddenError,
    UnauthorizedError,
)
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.caller import ANONYMOUS, TOKEN_HOLDER, Caller
from hedgerow.gateway.access.hosts import Hosts, HostVerdict, is_loopback
from hedgerow.gateway.access.key import name_in
from hedgerow.gateway.access.key_ring import KeyRing
from hedgerow.gateway.access.origins import Origins

# An enum's member is looked up slowly in Python 3.11.
_KNOWN: Final = HostVerdict.KNOWN
_UNKNOWN: Final = HostVerdict.UNKNOWN

OPEN_EVENT: Final = "open_to_the_network"  # in the log, with the warning as its reason
OPEN_WARNING: Final = (
    "there is neither a token nor a key, and the gateway listens beyond this machine: anyone who "
    "can reach it can read, change and delete every document. Create a key (gateway key create), "
    "set HEDGEROW_GATEWAY__TOKEN, or listen on 127.0.0.1"
)


def token_of(settings: GatewaySettings) -> str | None:
    """Return the token of the settings, if there is one.

    Raises:
        ConfigurationError: it is a key. The environment of a command may have one; a gateway
            started there would give that key all rights.
    """
    token = None if settings.token is None else settings.token.get_secret_value()
    if token is not None and (name := name_in(token.encode())):
        raise ConfigurationError(
            f"gateway.token: is key {name!r}, which would have all rights as the token. Keys are "
            "read from a file: unset HEDGEROW_GATEWAY__TOKEN where the gateway is started"
        )
    return token


class AccessControl:
    """Controls access to one gateway.

    Attributes:
        cors_origins: origins whose pages may read and write.
        has_public_metrics: whether metrics need neither the token nor a key.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        keys: KeyRing | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        *,
        has_public_metrics: bool = False,
    ) -> None:
        """Use the settings' token, hosts and origins, and `keys`."""
        token = token_of(settings)
        self._token = None if token is None else token.encode()
        self._ring = KeyRing() if keys is None else keys
        self._hosts = Hosts(settings.host, settings.allowed_hosts)
        self._origins = Origins(settings.cors_origins)
        self._bound = settings.host
        self._clock = clock
        self._wall_clock = wall_clock
        self.cors_origins = settings.cors_origins
        self.has_public_metrics = has_public_metrics

    @property
    def is_open(self) -> bool:
        """Whether anyone may ask, because there is neither a token nor a file of keys."""
        return self._token is None and not self._ring.is_required

    @property
    def warning(self) -> str:
        """What is dangerous about being open; empty if nothing is."""
        return OPEN_WARNING if self.is_open and not is_loopback(self._bound) else ""

    def check_host(self, host: bytes | None) -> None:
        """Make sure that a request means this gateway.

        Args:
            host: its Host header; None without one, as HTTP/1.0 allows.

        Raises:
            BadRequestError: it is malformed.
            ForbiddenError: anyone may ask here, and the name may be another site's.
        """
        verdict = HostVerdict.UNKNOWN if host is None else self._hosts.verdict(host)
        if verdict is HostVerdict.MALFORMED:
            raise BadRequestError("Host", "is not a host name with or without a port")
        if verdict is HostVerdict.UNKNOWN and self.is_open:
            name = "no name" if host is None else repr(host.decode(errors="replace"))
            raise ForbiddenError(
                f"without a token or keys, this gateway does not answer to {name}; "
                "to allow a name, add it to gateway.allowed_hosts"
            )

    def check_page(self, method: str, fields: Mapping[bytes, bytes]) -> None:
        """Make sure that a browser does not write here for a page of another origin.

        Raises:
            ForbiddenError: it does.
        """
        self._origins.check(method, fields)

    def admit(self, authorization: bytes) -> Caller:
        """Return the caller, and count the request.

        Args:
            authorization: the header; empty without one.

        Raises:
            OverloadedError: too many requests a second come with this key.
            UnauthorizedError: neither the token nor a known key is in the header.
        """
        if self.is_open:
            return ANONYMOUS
        scheme, _, given = authorization.partition(b" ")
        given = given.strip()
        if scheme.lower() != b"bearer" or not given:
            raise UnauthorizedError("this gateway requires `Authorization: Bearer TOKEN`")
        # In constant time, so that the time of a refusal reveals nothing about the token.
        if self._token is not None and hmac.compare_digest(given, self._token):
            return TOKEN_HOLDER
        if not self._ring.is_required:
            raise UnauthorizedError("this gateway requires `Authorization: Bearer TOKEN`")
        return self._ring.find(given, self._wall_clock()).admit(self._clock())

    def admits_plainly(self, fields: Mapping[bytes, bytes]) -> bool:
        """Whether `check_host` and `check_page` would surely pass; a quick check."""
        host = fields.get(b"host")
        if host is None or b"origin" in fields or b"sec-fetch-site" in fields:
            return False
        verdict = self._hosts.verdict(host)
        return verdict is _KNOWN or (verdict is _UNKNOWN and not self.is_open)

    def to_json(self, searches: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
        """The part of the status about access, as docs/http-status.md describes it.

        Args:
            searches: name of a caller → what admission control knows of its searches.
        """
        return {
            "open": self.is_open,
            "keys": self._ring.to_json(searches, self._wall_clock()),
            "keys_error": self._ring.error,
        }
