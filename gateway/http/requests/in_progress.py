"""Counts a request as in progress while the gateway works on it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Scope

from hedgerow.gateway.access.request_admission import RequestAdmission
from hedgerow.gateway.http.requests.guard import caller_of, peer_in


@contextmanager
def in_progress(requests: RequestAdmission, scope: Scope) -> Iterator[None]:
    """Count a request as in progress during the block, which may use Redis and the workers.

    Read the body before, and send the answer after: the time that a client takes for either must
    not keep others out.

    Raises:
        OverloadedError: too many requests are in progress, in all or of this caller.
    """
    now = asyncio.get_running_loop().time
    place = requests.admit(caller_of(scope), peer_in(scope), now())
    try:
        yield
    finally:
        requests.end(place, now())
