"""The health check of a gateway's container: checks whether the gateway is ready.

    python -m hedgerow.gateway.health

Exits with 0 if `GET /readyz` on this machine answers 200, else with 1 and the reason on stderr. The
port, and whether to use HTTPS, come from the settings. The certificate is not checked, since it is
rarely for the address of a loopback interface.

It runs every few seconds, so it does not import the settings, which takes five times the CPU of all
the rest, where two variables of the environment say all.
"""

import http.client
import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from hedgerow.common.errors import ConfigurationError

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8080
_HOST: Final = "HEDGEROW_GATEWAY__HOST"
_PORT: Final = "HEDGEROW_GATEWAY__PORT"
_CERT: Final = "HEDGEROW_GATEWAY__TLS_CERT"
_TIMEOUT_S: Final = 4.0
_ANY_IPV4: Final = ("", "0.0.0.0")  # noqa: S104 - compared, not bound
_ANY_IPV6: Final = "::"


class Listener(NamedTuple):
    """How a gateway is reached.

    Attributes:
        host: the address that it binds.
        port: the port that it binds.
        tls_cert: its certificate, if it speaks HTTPS.
    """

    host: str
    port: int
    tls_cert: Path | None = None


def plain(environment: Mapping[str, str], *, has_file: bool) -> Listener | None:
    """How a gateway is reached, by two variables and the defaults.

    Args:
        environment: the environment's variables.
        has_file: whether there may be a file of settings.

    Returns:
        None if other settings may say something else, or a variable is not as usual.
    """
    others = environment.keys() - {_HOST, _PORT}
    if has_file or any(
        name.upper() in (_HOST, _PORT, _CERT, "HEDGEROW_GATEWAY") for name in others
    ):
        return None
    port = environment.get(_PORT, str(DEFAULT_PORT))
    return Listener(environment.get(_HOST, DEFAULT_HOST), int(port)) if port.isdecimal() else None


def unready_because(listener: Listener) -> str | None:
    """Ask the gateway at `listener`; returns the reason why it is not ready, else None."""
    host = _reached_at(listener.host)
    if listener.tls_cert is None:
        connection = http.client.HTTPConnection(host, listener.port, timeout=_TIMEOUT_S)
    else:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            host, listener.port, timeout=_TIMEOUT_S, context=context
        )
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{host} port {listener.port}: {error!r}"
    finally:
        connection.close()
    return None if status == 200 else f"/readyz answers {status}"


def _reached_at(bound: str) -> str:
    """Return an address of this machine that reaches a gateway bound to `bound`."""
    if bound in _ANY_IPV4:
        return "127.0.0.1"
    return "::1" if bound == _ANY_IPV6 else bound


def _listener() -> Listener:
    """How the gateway is reached, by its settings.

    Raises:
        ConfigurationError: a value is invalid.
    """
    has_file = "HEDGEROW_CONFIG" in os.environ or Path("hedgerow.toml").exists()
    if (found := plain(os.environ, has_file=has_file)) is not None:
        return found
    from hedgerow.common.settings.settings import load_settings  # noqa: PLC0415 - seldom needed

    gateway = load_settings().gateway
    return Listener(gateway.host, gateway.port, gateway.tls_cert)


def run() -> int:
    """Check; returns the exit status."""
    try:
        reason = unready_because(_listener())
    except ConfigurationError as error:
        reason = str(error)
    if reason is None:
        return 0
    sys.stderr.write(f"gateway: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(run())
