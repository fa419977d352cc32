"""Hedgerow: scatter-gather serving. Answers from sharded workers, by the deadline.

`Client` and `AsyncClient` ask a gateway over HTTP; `Gateway` runs one inside this process. Each is
imported when it is first used, so that a client does not load the server.

In the repository, `gateway/`, `shard_worker/` and `common/` are beside this folder, which contains
links to them. Installed, they are inside this package.
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
    """Import a name of `__all__` when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - so that clients start faster

    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found
