"""How a gateway is reached, which both clients share."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hedgerow.common.errors import BadRequestError, ConfigurationError, UnavailableError
from hedgerow.gateway.client.calls import Call
from hedgerow.gateway.client.network.address import Address, address_of

DEFAULT_URL: Final = "http://127.0.0.1:8080"
CONNECT_TIMEOUT_S: Final = 5.0
MARGIN_S: Final = 10.0

Verify = ssl.SSLContext | bool | str | Path

# Below the 5 s after which the gateway closes what is idle, so that no request meets that close.
KEEPALIVE_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class Link:
    """How a gateway is reached.

    Attributes:
        url: where it answers.
        token: bearer token, when it wants one.
        margin_s: how much longer than the gateway may take an answer is waited for, in s: what
            the network may take, and a gateway that is late is still heard.
        connect_timeout_s: longest wait for a connection, in s.
        verify: how its certificate is checked, with an https URL: against the system's
            authorities (True), those in a PEM file (its path), not at all (False), or as a context
            says.
        address: what the URL says.
    """

    url: str
    token: str | None = None
    margin_s: float = MARGIN_S
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    verify: Verify = True
    address: Address = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be used.

        Raises:
            UnavailableError: the URL is none, so there is no gateway.
            BadRequestError: the token cannot be sent.
        """
        try:
            object.__setattr__(self, "address", address_of(self.url))
        except ValueError as error:
            raise UnavailableError(f"no gateway answers at {self.url}: {error}") from error
        if self.token and not (self.token.isascii() and self.token.isprintable()):
            raise BadRequestError("token", "may have printable ASCII characters only")

    def timeout_s(self, call: Call[Any]) -> float:
        """Return how long the answer to a call is waited for, in s."""
        return call.takes_s + self.margin_s

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return how connections are encrypted; None for a URL that is not an https one.

        Raises:
            ConfigurationError: there are no authorities in the file that `verify` names.
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
