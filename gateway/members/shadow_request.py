"""A shadow request: a copy of a request to a worker on probation, whose reply is in no answer."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from hedgerow.common.errors import WireError
from hedgerow.common.wire.messages import Reply, Status, unpack_failure
from hedgerow.gateway.search.guards.breakers import QUERY_FAULT_CODES

log = structlog.get_logger()

_GRACE_S: Final = 0.05  # a reply leaves its worker by the deadline, and then needs this to arrive

OnEnd = Callable[[float, bool | None], None]


class ShadowRequest:
    """The reply to one shadow request; a `ReplySink`.

    It ends once: by its reply, if none has come in time, or if none can come.
    """

    __slots__ = ("_on_end", "_timeout_s", "_timer")

    def __init__(self, timeout_s: float, on_end: OnEnd) -> None:
        """Wait for `timeout_s`.

        Args:
            timeout_s: the time until the request's deadline, in s.
            on_end: called with the worker's own time, in s, and whether it has answered; None if
                the reply says nothing about the worker.
        """
        self._on_end = on_end
        self._timeout_s = timeout_s
        self._timer: asyncio.TimerHandle | None = asyncio.get_running_loop().call_later(
            timeout_s + _GRACE_S, self._end, timeout_s, False
        )

    def on_reply(self, reply: Reply, worker: str, now: float) -> None:  # noqa: ARG002 - by its own
        """The worker has answered."""
        took_s = (reply.lane_us + reply.work_us) / 1e6
        self._end(took_s, True if reply.status == Status.OK else _blame(reply))

    def on_unsent(self, shard: int, reason: str) -> None:
        """Redis did not take the request."""
        log.debug("trial_lost", shard=shard, reason=reason)
        self.drop()

    def on_lost(self, reason: str) -> None:
        """The reply can no longer come."""
        log.debug("trial_lost", reason=reason)
        self.drop()

    def drop(self) -> None:
        """End without a result."""
        self._end(0.0, None)

    def _end(self, took_s: float, is_ok: bool | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._on_end(took_s, is_ok)


def _blame(reply: Reply) -> bool | None:
    """Whether a failure is the worker's (False), or the query's (None)."""
    if reply.status == Status.EXPIRED:
        return False
    try:
        return None if unpack_failure(reply.body).code in QUERY_FAULT_CODES else False
    except WireError:
        return False
