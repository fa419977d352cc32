"""A copy of a request to a worker on probation, whose reply only measures the worker."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from hedgerow.common.errors import WireError
from hedgerow.common.wire.messages import Reply, Status, unpack_failure
from hedgerow.gateway.search.breakers import QUERY_FAULT_CODES

log = structlog.get_logger()

_GRACE_S: Final = 0.05  # a reply leaves the worker by the deadline, and then has to arrive

OnEnd = Callable[[float, bool | None], None]


class ShadowRequest:
    """Waits for the reply to a shadow request; a `ReplySink`.

    It ends once: with the reply, after the timeout, or when no reply can arrive.
    """

    __slots__ = ("_on_end", "_timeout_s", "_timer")

    def __init__(self, timeout_s: float, on_end: OnEnd) -> None:
        """Wait for `timeout_s`.

        Args:
            timeout_s: time until the request's deadline, in s.
            on_end: called with the worker's own time, in s, and whether it has answered; None if
                the result says nothing about the worker.
        """
        self._on_end = on_end
        self._timeout_s = timeout_s
        self._timer: asyncio.TimerHandle | None = asyncio.get_running_loop().call_later(
            timeout_s + _GRACE_S, self._end, timeout_s, False
        )

    def on_reply(self, reply: Reply, worker: str) -> None:  # noqa: ARG002 - only one was asked
        """The worker has answered."""
        took_s = (reply.lane_us + reply.work_us) / 1e6
        self._end(took_s, True if reply.status == Status.OK else _blame(reply))

    def on_unsent(self, shard: int, reason: str) -> None:
        """Redis did not take the request."""
        log.debug("trial_lost", shard=shard, reason=reason)
        self.drop()

    def on_lost(self, reason: str) -> None:
        """No reply can arrive any more."""
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
    """Return False if the worker is to blame for a failure, None if the query is."""
    if reply.status == Status.EXPIRED:
        return False
    try:
        return None if unpack_failure(reply.body).code in QUERY_FAULT_CODES else False
    except WireError:
        return False
