"""A shard worker in the status."""

from typing import Annotated

import msgspec

from hedgerow.gateway.shapes.doc import doc


class ProfileLoad(msgspec.Struct, frozen=True):
    """What one rank profile's functions hold of a lane."""

    most: Annotated[int, doc("Threads or processes that it may hold.")]
    held: Annotated[int, doc("Those that it holds.")]
    refused: Annotated[int, doc("Calls refused since the start, because it held all of them.")]


class ScorerLane(msgspec.Struct, frozen=True, kw_only=True):
    """A lane of processes."""

    capacity: Annotated[int, doc("Processes that there should be.")]
    alive: Annotated[int, doc("Processes that can take work.")]
    busy: Annotated[int, doc("Processes that have work.")]
    waiting: Annotated[int, doc("Works that wait for a process.")]
    in_flight: Annotated[int, doc("Works that processes have been given.")]
    restarts: Annotated[int, doc("Processes that ended and were replaced.")]
    crashes: Annotated[int, doc("Processes that died under work.")]
    killed: Annotated[int, doc("Processes killed since they ignored their budget.")]
    recycled: Annotated[
        int, doc("Processes replaced since they had grown beyond scorer_max_memory_mb.")
    ]
    service_us: Annotated[float, doc("Moving average of the time of one work, in µs.")]
    quarantined: Annotated[int, doc("Queries that are refused.")]
    profiles: Annotated[dict[str, ProfileLoad], doc("Rank profile to what it holds.")] = {}
    pids: Annotated[list[int], doc("The processes; 0 for one that is down.")]


class ThreadLane(msgspec.Struct, frozen=True, kw_only=True):
    """The threads of blocking calls."""

    capacity: Annotated[int, doc("Threads that there are.")]
    busy: Annotated[int, doc("Threads in a call, lost ones included.")]
    lost: Annotated[int, doc("Threads whose call has not come back in time.")]
    waiting: Annotated[int, doc("Calls that wait for a thread.")]
    late: Annotated[int, doc("Calls, ever, that were no longer waited for.")]
    profiles: Annotated[dict[str, ProfileLoad], doc("Rank profile to what it holds.")] = {}


class LoopLoad(msgspec.Struct, frozen=True):
    """How late an event loop has been."""

    lags: Annotated[int, doc("How often the loop lagged over the threshold.")]
    max_lag_ms: Annotated[float, doc("The worst lag since the start.")]


class Lanes(msgspec.Struct, frozen=True, kw_only=True):
    """The lanes of a worker."""

    process: Annotated[ScorerLane, doc("The scorers.")]
    reading: Annotated[ThreadLane, doc("Reading of stored documents.")] = ThreadLane(
        capacity=0, busy=0, lost=0, waiting=0, late=0
    )
    thread: Annotated[ThreadLane, doc("enrich.")]
    indexer: Annotated[ScorerLane, doc("The process that applies writes.")]
    loop: Annotated[LoopLoad, doc("The event loop.")]


class WorkDone(msgspec.Struct, frozen=True):
    """Requests that ended in one way."""

    count: Annotated[int, doc("Requests.")]
    work_us: Annotated[int, doc("Time that they occupied a lane, in µs.")]
    cpu_us: Annotated[int, doc("CPU time that was spent on them, in µs.")]


class Ledger(msgspec.Struct, frozen=True):
    """What a worker's work since its start was for."""

    answered: Annotated[WorkDone, doc("A reply was sent.")]
    dropped: Annotated[WorkDone, doc("Never started: expired or cancelled before.")]
    stopped: Annotated[WorkDone, doc("Stopped when nobody waited any more.")]
    killed: Annotated[WorkDone, doc("Ran on regardless, and was killed with its scorer.")]
    late: Annotated[
        WorkDone, doc("A reply was sent after its deadline, for the gateway to learn from.")
    ]
    unused: Annotated[WorkDone, doc("Ran to its end, too late for anybody.")]
    unstoppable: Annotated[WorkDone, doc("Blocking calls that ran on with nobody waiting.")]


class ProbationStatus(msgspec.Struct, frozen=True):
    """Why a worker is on probation."""

    gateway: Annotated[str, doc("Id of the gateway that says so, and that tries it.")]
    reason: Annotated[str, doc("In what it differs from its replicas.")]
    since_ms: Annotated[int, doc("When it began, a Unix time in ms.")]
    until_ms: Annotated[
        int, doc("When that word ends if its gateway no longer renews it, a Unix time in ms.")
    ]


class SetAsideStatus(msgspec.Struct, frozen=True):
    """Documents that could not be indexed and are kept in files of the worker."""

    bytes: Annotated[int, doc("Their size on disk.")] = 0
    dropped: Annotated[
        int, doc("Documents removed since the start, the oldest first, for want of room.")
    ] = 0


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One live worker, by its last heartbeat."""

    id: str
    pid: int
    host: str
    shards: Annotated[list[int], doc("Shards that it serves.")]
    gaps: Annotated[list[int], doc("Shards it does not serve, having missed logged writes.")]
    behind: Annotated[
        list[int], doc("Shards it does not serve yet, since other replicas have applied more.")
    ]
    on_probation: Annotated[
        bool, doc("Whether it is on probation: it leaves live requests to other replicas.")
    ]
    probation: Annotated[ProbationStatus | None, doc("Why, and until when; null if it is not.")]
    leaves: Annotated[
        list[int],
        doc("Shards whose live requests it leaves to others now; not those that have none."),
    ]
    version: str
    age_ms: Annotated[int, doc("Time since its last heartbeat.")]
    uptime_ms: Annotated[int, doc("From its start to that heartbeat.")]
    lanes: Lanes
    counters: Annotated[dict[str, int], doc("Event to how often it happened since the start.")]
    ledger: Ledger
    log_backlog: Annotated[
        dict[str, int], doc("Shard to log entries that some replica has yet to apply.")
    ]
    documents: Annotated[
        dict[str, dict[str, int]], doc("Shard to collection to documents that it holds.")
    ]
    set_aside: SetAsideStatus = SetAsideStatus()
