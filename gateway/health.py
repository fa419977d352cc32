"""The health check of a gateway's container: checks whether the gateway is ready.

    python -m hedgerow.gateway.health

Exits with 0 if `GET /readyz` on this machine answers 200, else with 1 and the reason on stderr. The
port, and whether to use HTTPS, come from the settings. The certificate is not checked, since it is
rarely for the address of a loopback interface.
"""

import http.client
import ssl
import sys
from typing import Final

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.settings import load_settings

_TIMEOUT_S: Final = 4.0
_ANY_IPV4: Final = ("", "0.0.0.0")  # noqa: S104 - compared, not bound
_ANY_IPV6: Final = "::"


def unready_because(settings: GatewaySettings) -> str | None:
    """Ask the gateway with these settings; returns the reason why it is not ready, else None."""
    host = _reached_at(settings.host)
    if settings.tls_cert is None:
        connection = http.client.HTTPConnection(host, settings.port, timeout=_TIMEOUT_S)
    else:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            host, settings.port, timeout=_TIMEOUT_S, context=context
        )
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{host} port {settings.port}: {error!r}"
    finally:
        connection.close()
    return None if status == 200 else f"/readyz answers {status}"


def _reached_at(bound: str) -> str:
    """Return an address of this machine that reaches a gateway bound to `bound`."""
    if bound in _ANY_IPV4:
        return "127.0.0.1"
    return "::1" if bound == _ANY_IPV6 else bound


def run() -> int:
    """Check; returns the exit status."""
    try:
        reason = unready_because(load_settings().gateway)
    except ConfigurationError as error:
        reason = str(error)
    if reason is None:
        return 0
    sys.stderr.write(f"gateway: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(run())
