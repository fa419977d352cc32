"""The host names that a gateway answers to: a defence against DNS rebinding. Pure.

A web page can point its own name at 127.0.0.1 and then send requests to a gateway there as if it
were the page's own server. The browser lets the page read the answers, since it sees only one
origin. The Host header still has the page's name, so a gateway without a token or keys answers only
to names that cannot belong to another site.
"""

import re
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from typing import Final

from hedgerow.common.settings.access import ANY_HOST

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
# What a server binds in order to be reached at every address of its machine.
EVERY_ADDRESS: Final = frozenset({"", "0.0.0.0", "::", "[::]"})  # noqa: S104 - not bound here
# RFC 3986, 3.2.2, of which a registered name may be empty.
_HOST: Final = re.compile(
    rb"(\[[0-9a-f:.]+\]|[a-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?", re.IGNORECASE
).fullmatch
_NUM_CACHED: Final = 256


class HostVerdict(Enum):
    """How a gateway judges a Host header."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    MALFORMED = "malformed"


class Hosts:
    """The names that a gateway answers to, with any port."""

    def __init__(self, bound: str, allowed: Iterable[str]) -> None:
        """Answer to loopback names, to `allowed` and to the address `bound`.

        Args:
            bound: the address that the server binds; one that stands for all addresses adds none.
            allowed: further names, in lower case; `*` for all.
        """
        self.names = LOOPBACK | set(allowed)
        if bound not in EVERY_ADDRESS:
            self.names |= {f"[{bound}]" if ":" in bound else bound.lower()}
        # Decided once for each value: most callers always send the same one.
        self.verdict = lru_cache(_NUM_CACHED)(self._decide)

    def _decide(self, host: bytes) -> HostVerdict:
        found = _HOST(host)
        if found is None:
            return HostVerdict.MALFORMED
        is_known = ANY_HOST in self.names or found[1].decode().lower() in self.names
        return HostVerdict.KNOWN if is_known else HostVerdict.UNKNOWN


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` can be reached only from this machine."""
    return host == "localhost" or host.startswith("127.") or host == "::1"
