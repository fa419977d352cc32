"""One request to one shard, its stage, and the totals of all requests."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Protocol

from hedgerow.gateway.simulate.distributions import Sampler
from hedgerow.gateway.simulate.event_loop import VirtualLoop


class Stage(IntEnum):
    """Where a request is."""

    QUEUED = 0
    HELD = 1  # by a server that is paused
    RUNNING = 2
    ANSWERED = 3
    DROPPED = 4  # expired, cancelled or lost


# In Python 3.11, looking up a member of an enum costs five times as much as a global.
_QUEUED: Final = Stage.QUEUED


class Job:
    """One copy of a request to one shard.

    Attributes:
        sent_at: when the gateway sent it; `queued_at`: when it reached its queue.
        size_s: how long the work takes at normal speed; None: the server that starts it draws it.
        cost: the query's factor on `size_s`.
        twin: the other copy of a hedged or tied request.
        subject: identifies it to the code that made it.
        is_hedge: whether the gateway sent it as a second copy.
        is_cut: whether the work ends before it is done.
        is_delivered: whether its reply was the first.
        worked_s: time that a server has spent on it.
    """

    __slots__ = (
        "cost",
        "ends_at",
        "expires_at",
        "is_copy",
        "is_cut",
        "is_delivered",
        "is_hedge",
        "query_id",
        "queued_at",
        "sent_at",
        "server",
        "shard",
        "size_s",
        "stage",
        "started_at",
        "subject",
        "twin",
        "worked_s",
    )

    def __init__(
        self,
        shard: "Home",
        query_id: int,
        subject: Any,
        expires_at: float,
        cost: float,
        now: float,
        sent_at: float | None = None,
    ) -> None:
        self.shard = shard
        self.query_id = query_id
        self.subject = subject
        self.expires_at = expires_at
        self.cost = cost
        self.queued_at = now
        self.sent_at = now if sent_at is None else sent_at
        self.stage = _QUEUED
        self.size_s: float | None = None
        self.server: Holder | None = None
        self.twin: Job | None = None
        self.is_copy = False
        self.is_hedge = False
        self.is_cut = False
        self.is_delivered = False
        self.started_at = 0.0
        self.ends_at = 0.0
        self.worked_s = 0.0

    def spent_share(self, now: float) -> float:
        """Share of its time from sending to expiry that has passed; over 1 once it has expired."""
        total_s = self.expires_at - self.sent_at
        return (now - self.sent_at) / total_s if total_s > 0 else math.inf


@dataclass(slots=True)
class Totals:
    """The work of all shards; times in server-seconds.

    Attributes:
        requests: first copies.
        copies: second copies, hedged or tied.
        copies_started: copies that a server has worked on.
        expired_unstarted: dropped when pulled, since they had expired.
        stopped: ended while running, at their deadline or when cancelled.
        cancelled_unstarted: taken back from a queue.
        lost: started by a server that crashed.
        busy_s: all work.
        abandoned_s: work on answers that were not used.
    """

    requests: int = 0
    copies: int = 0
    copies_started: int = 0
    expired_unstarted: int = 0
    stopped: int = 0
    cancelled_unstarted: int = 0
    lost: int = 0
    busy_s: float = 0.0
    abandoned_s: float = 0.0


class Holder(Protocol):
    """The server that holds a request, as used by the request."""

    name: str

    def stop(self, job: Job, stop_s: float) -> None:
        """End its work after `stop_s`, in s."""

    def finish(self, job: Job) -> None:
        """Its work is done."""


class Home(Protocol):
    """The shard that a request goes to, as used by requests and servers."""

    number: int
    loop: VirtualLoop
    totals: Totals
    factor: float
    service: Sampler
    on_answer: Callable[[Job], None]

    def take_back(self, job: Job) -> None:
        """Drop a request, unless a server has it already."""

    def cancel(self, job: Job, stop_s: float) -> None:
        """Drop a waiting request, or stop a running one after `stop_s`, in s."""

    def on_copy_started(self, job: Job, twin: Job) -> None:
        """One of two copies has been started."""

    def pass_on(self, copy: Job, holder: Holder) -> None:
        """Give a copy to a server other than its holder."""
