"""Hedgerow: scatter-gather serving. Answers from sharded workers, by the deadline.

`Client` and `AsyncClient` ask a gateway over HTTP, `Gateway` is one inside this process. Each is
imported when it is first used, so that a client loads no server.

In the repository `gateway/`, `shard_worker/` and `common/` lie beside this folder, which holds
links to them; what is installed is this one package, with the three inside it.
"""

from typing import TYPE_CHECKING, Any, Final

from hedgerow.common import __version__

if TYPE_CHECKING:
    from hedgerow.gateway.client import AsyncClient, Client
    from hedgerow.gateway.gateway import Gateway

__all__ = ["AsyncClient", "Client", "Gateway", "__version__"]

_HOMES: Final = {
    "AsyncClient": "hedgerow.gateway.client",
    "Client": "hedgerow.gateway.client",
    "Gateway": "hedgerow.gateway.gateway",
}


def __getattr__(name: str) -> Any:
    """What `__all__` names, imported at its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - a client's start must not pay for it

    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found
