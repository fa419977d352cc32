"""Does something on several servers at the same time, each with its own part of what is given."""

from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import TypeVar

from hedgerow.common.tasks import all_of

S = TypeVar("S", bound=Hashable)
T = TypeVar("T")
R = TypeVar("R")


async def by_server(
    given: Sequence[T],
    server_of: Callable[[T], S],
    run: Callable[[S, list[T]], Coroutine[None, None, Sequence[R]]],
) -> list[R]:
    """Return what `run` returns for each of the `given`, in their order.

    If it fails for one server, all have ended; those of the others may have been done.

    Args:
        given: the parts.
        server_of: where a part belongs; without Redis Cluster, all are in one place.
        run: called once for each server with its parts; returns something for each of them.
    """
    places: dict[S, list[int]] = {}
    for at, one in enumerate(given):
        places.setdefault(server_of(one), []).append(at)
    calls = [run(server, [given[at] for at in some]) for server, some in places.items()]
    if len(calls) == 1:
        return list(await calls[0])
    found: dict[int, R] = {}
    for some, part in zip(places.values(), await all_of(calls), strict=True):
        found |= zip(some, part, strict=True)
    return [found[at] for at in range(len(given))]
