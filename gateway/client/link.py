"""How to reach a gateway; both clients share this."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hedgerow.common.errors import BadRequestError, ConfigurationError, UnavailableError
from hedgerow.gateway.client.calls import Call
from hedgerow.gateway.client.calls.call import wait_in_s
from hedgerow.gateway.client.network.address import Address, address_of

DEFAULT_URL: Final = "http://127.0.0.1:8080"
CONNECT_TIMEOUT_S: Final = 5.0
MARGIN_S: Final = 10.0

Verify = ssl.SSLContext | bool | str | Path

# The gateway closes idle connections after 5 s; below that, no request meets the close.
KEEPALIVE_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class Link:
    """How to reach a gateway.

    Attributes:
        url: its URL.
        token: bearer token, if it requires one.
        margin_s: how much longer than the gateway may take to wait for an answer, in s: time for
            the network, and for a late gateway.
        connect_timeout_s: longest wait for a connection, in s.
        verify: how to check its certificate if the URL is https: against the system's authorities
            (True), those in a PEM file (its path), not at all (False), or by an SSLContext.
        address: the parts of the URL.
    """

    url: str
    token: str | None = None
    margin_s: float = MARGIN_S
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    verify: Verify = True
    address: Address = field(init=False)

    def __post_init__(self) -> None:
        """Check the URL and the token.

        Raises:
            UnavailableError: the URL is invalid, so there is no gateway.
            BadRequestError: the token cannot be sent, or a wait is no time.
        """
        for name in ("margin_s", "connect_timeout_s"):
            object.__setattr__(self, name, wait_in_s(name, getattr(self, name)))
        if self.connect_timeout_s == 0:
            raise BadRequestError("connect_timeout_s", "must be more than 0")
        try:
            object.__setattr__(self, "address", address_of(self.url))
        except ValueError as error:
            raise UnavailableError(f"no gateway answers at {self.url}: {error}") from error
        if self.token and not (self.token.isascii() and self.token.isprintable()):
            raise BadRequestError("token", "may have printable ASCII characters only")

    def timeout_s(self, call: Call[Any]) -> float:
        """Return how long to wait for the answer to a call, in s."""
        return call.takes_s + self.margin_s

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS context of connections; None if the URL is not https.

        Raises:
            ConfigurationError: the file that `verify` names contains no authorities.
        """
        if not self.address.is_tls:
            return None
        if isinstance(self.verify, ssl.SSLContext):
            return self.verify
        file = None if isinstance(self.verify, bool) else self.verify
        try:
            context = ssl.create_default_context(cafile=file)
        except OSError as error:  # an SSLError is one
            reason = error.strerror if error.errno else "it has no certificate in PEM"
            raise ConfigurationError(f"verify: cannot use {file}: {reason}") from error
        context.set_alpn_protocols(["http/1.1"])
        if self.verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
