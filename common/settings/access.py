"""Types of the settings that control access to a gateway: secrets, host names and origins."""

import ipaddress
import re
from typing import Annotated, Final

from pydantic import AfterValidator, SecretStr

ANY_HOST: Final = "*"

_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?").fullmatch
_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9][a-z0-9._-]*|\[[0-9a-f:.]+\])(?::[0-9]+)?")


def _checked_token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if not text.strip():
        raise ValueError("is empty; set a secret, or unset it for a gateway without a token")
    if text != text.strip():
        raise ValueError(
            "begins or ends with white space, which an Authorization header cannot carry"
        )
    return token


def _checked_host(name: str) -> str:
    lowered = name.lower()
    try:
        address = ipaddress.ip_address(lowered.strip("[]"))
    except ValueError:
        if lowered == ANY_HOST or _HOST(lowered):
            return lowered
    else:
        # In the form that a Host header has.
        return f"[{address}]" if address.version == 6 else str(address)
    raise ValueError(
        f"{name!r} is neither a host name (without scheme and port, as search.example.org) nor *"
    )


def _checked_origin(origin: str) -> str:
    lowered = origin.lower().removesuffix("/")
    if not _ORIGIN.fullmatch(lowered):
        raise ValueError(f"{origin!r} is not an origin such as https://app.example.org")
    return lowered


Token = Annotated[SecretStr, AfterValidator(_checked_token)]
HostName = Annotated[str, AfterValidator(_checked_host)]
Origin = Annotated[str, AfterValidator(_checked_origin)]
