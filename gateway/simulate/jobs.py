"""One request to one shard, where it is, and the sum of what became of all."""

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
    HELD = 1  # by a server that stands still
    RUNNING = 2
    ANSWERED = 3
    DROPPED = 4  # expired, cancelled or lost


# An enum's member is looked up through a descriptor in Python 3.11: five times a global's price.
_QUEUED: Final = Stage.QUEUED


class Job:
    """One copy of a request to one shard.

    Attributes:
        sent_at: when the gateway sent it; `queued_at`: when it lay in its queue.
        size_s: how long the work takes at normal speed; None: the server that starts it draws.
        cost: the query's factor on that.
        twin: the other copy, of a hedged or tied request.
        subject: what the maker of the request wants to know it by.
        is_hedge: whether the gateway sent it as a second copy.
        is_cut: whether the work ends before it is done.
        is_delivered: whether its reply was the first.
        worked_s: time that a server spent on it.
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
        """Of its time from sending to expiry, how much it has spent; over 1 when it has expired."""
        total_s = self.expires_at - self.sent_at
        return (now - self.sent_at) / total_s if total_s > 0 else math.inf


@dataclass(slots=True)
class Totals:
    """What all shards did; times in server-seconds.

    Attributes:
        requests: first copies.
        copies: second copies, hedged or tied.
        copies_started: of these, how many a server has worked on.
        expired_unstarted: dropped when pulled, since nobody waited any more.
        stopped: ended at their deadline, or on being cancelled, while running.
        cancelled_unstarted: taken back from a queue.
        lost: started by a server that crashed.
        busy_s: all work.
        abandoned_s: work on answers that nobody took.
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
    """The server that holds a request, as the request knows it."""

    name: str

    def stop(self, job: Job, stop_s: float) -> None:
        """End its work after `stop_s`, in s."""

    def finish(self, job: Job) -> None:
        """Its work is done."""


class Home(Protocol):
    """The shard that a request goes to, as requests and servers know it."""

    number: int
    loop: VirtualLoop
    ledger: Totals
    factor: float
    service: Sampler
    on_answer: Callable[[Job], None]

    def take_back(self, job: Job) -> None:
        """Drop a request, unless a server has it already."""

    def cancel(self, job: Job, stop_s: float) -> None:
        """Drop a request that waits, or stop one that runs after `stop_s`, in s."""

    def on_start_of_one(self, job: Job, twin: Job) -> None:
        """One of two copies has been started."""

    def pass_on(self, copy: Job, holder: Holder) -> None:
        """Hand a copy to another server than its holder."""
