"""A shard worker in the status."""

from typing import Annotated

import msgspec

from hedgerow.gateway.shapes.doc import doc


class ProfileLoad(msgspec.Struct, frozen=True):
    """The places of a lane that one rank profile's functions occupy."""

    most: Annotated[int, doc("Threads or processes that it may occupy.")]
    held: Annotated[int, doc("Threads or processes that it occupies.")]
    refused: Annotated[
        int, doc("Calls refused since the start because it occupied as many as it may.")
    ]


class ScorerLane(msgspec.Struct, frozen=True, kw_only=True):
    """A lane of processes."""

    capacity: Annotated[int, doc("Configured number of processes.")]
    alive: Annotated[int, doc("Processes that can take work.")]
    busy: Annotated[int, doc("Processes that are working.")]
    waiting: Annotated[int, doc("Tasks that wait for a process.")]
    in_flight: Annotated[int, doc("Tasks that are given to processes.")]
    restarts: Annotated[int, doc("Processes that ended and were replaced.")]
    crashes: Annotated[int, doc("Processes that died during a task.")]
    killed: Annotated[int, doc("Processes killed because they exceeded their budget.")]
    recycled: Annotated[
        int, doc("Processes replaced because they had exceeded scorer_max_memory_mb.")
    ]
    service_us: Annotated[float, doc("Moving average of the time of a task, in µs.")]
    quarantined: Annotated[int, doc("Queries that are refused.")]
    profiles: Annotated[dict[str, ProfileLoad], doc("Rank profile to what it occupies.")] = {}
    pids: Annotated[list[int], doc("The process ids; 0 for a process that is down.")]


class ThreadLane(msgspec.Struct, frozen=True, kw_only=True):
    """The threads of blocking calls."""

    capacity: Annotated[int, doc("Number of threads.")]
    busy: Annotated[int, doc("Threads in a call, including lost ones.")]
    lost: Annotated[int, doc("Threads whose call has not returned in time.")]
    waiting: Annotated[int, doc("Calls that wait for a thread.")]
    late: Annotated[int, doc("Calls since the start that did not return in time.")]
    profiles: Annotated[dict[str, ProfileLoad], doc("Rank profile to what it occupies.")] = {}


class LoopLoad(msgspec.Struct, frozen=True):
    """How late an event loop has been."""

    lags: Annotated[int, doc("How often the lag exceeded the threshold.")]
    max_lag_ms: Annotated[float, doc("The worst lag since the start.")]


class Lanes(msgspec.Struct, frozen=True, kw_only=True):
    """The lanes of a worker."""

    process: Annotated[ScorerLane, doc("The scorers.")]
    reading: Annotated[ThreadLane, doc("Reading of stored documents.")] = ThreadLane(
        capacity=0, busy=0, lost=0, waiting=0, late=0
    )
    thread: Annotated[ThreadLane, doc("Calls of `enrich`.")]
    indexer: Annotated[ScorerLane, doc("The process that applies writes.")]
    loop: Annotated[LoopLoad, doc("The event loop.")]


class WorkDone(msgspec.Struct, frozen=True):
    """Requests that ended in one way."""

    count: Annotated[int, doc("Requests.")]
    work_us: Annotated[int, doc("Time that they occupied a lane, in µs.")]
    cpu_us: Annotated[int, doc("CPU time that was spent on them, in µs.")]


class Ledger(msgspec.Struct, frozen=True):
    """How a worker's requests since its start ended."""

    answered: Annotated[WorkDone, doc("A reply was sent.")]
    dropped: Annotated[WorkDone, doc("Expired or cancelled before it was started.")]
    stopped: Annotated[WorkDone, doc("Stopped because the result was no longer needed.")]
    killed: Annotated[WorkDone, doc("Did not stop, and was killed with its scorer.")]
    late: Annotated[
        WorkDone, doc("A reply was sent after its deadline, for the gateway to learn from.")
    ]
    unused: Annotated[WorkDone, doc("Ran to its end too late to be used.")]
    unstoppable: Annotated[
        WorkDone, doc("Blocking calls that ran on although the result was no longer needed.")
    ]


class ProbationStatus(msgspec.Struct, frozen=True):
    """Why a worker is on probation."""

    gateway: Annotated[str, doc("Id of the gateway that decided it and sends shadow requests.")]
    reason: Annotated[str, doc("How it differs from other replicas.")]
    since_ms: Annotated[int, doc("When it began, a Unix time in ms.")]
    until_ms: Annotated[int, doc("When it ends unless that gateway renews it, a Unix time in ms.")]


class SetAsideStatus(msgspec.Struct, frozen=True):
    """Documents that could not be indexed and are kept in files of the worker."""

    bytes: Annotated[int, doc("Their size on disk.")] = 0
    dropped: Annotated[
        int, doc("Documents removed since the start to make room, oldest first.")
    ] = 0


class EmbeddingLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker's indexer has embedded of documents since its start."""

    texts: Annotated[
        int, doc("Texts embedded; one for each document and field, and again where a batch failed.")
    ]
    failed: Annotated[
        int, doc("Attempts to embed a text that failed; it is tried again, and then set aside.")
    ]
    calls: Annotated[int, doc("Calls of functions, each with up to embed.batch texts.")]
    seconds: Annotated[float, doc("Time that the calls took, in s.")]
    share: Annotated[
        float,
        doc(
            "Share of the last minute that the calls took; meanwhile, the worker writes nothing. "
            "Near 1, writes wait for the function."
        ),
    ]


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One live worker, by its last heartbeat."""

    id: str
    pid: int
    host: str
    shards: Annotated[list[int], doc("Shards that it serves.")]
    gaps: Annotated[
        list[int], doc("Shards it does not serve, because it has missed logged writes.")
    ]
    behind: Annotated[
        list[int], doc("Shards it does not serve yet, because other replicas have applied more.")
    ]
    on_probation: Annotated[
        bool, doc("Whether it is on probation: it leaves live requests to other replicas.")
    ]
    probation: Annotated[ProbationStatus | None, doc("Why, and until when; null if it is not.")]
    leaves: Annotated[
        list[int],
        doc(
            "Shards whose live requests it leaves to others now; not those without another replica."
        ),
    ]
    version: str
    age_ms: Annotated[int, doc("Time since its last heartbeat.")]
    uptime_ms: Annotated[int, doc("From its start to that heartbeat.")]
    lanes: Lanes
    counters: Annotated[dict[str, int], doc("Event to number of occurrences since the start.")]
    ledger: Ledger
    log_backlog: Annotated[
        dict[str, int], doc("Shard to number of log entries that some replica has yet to apply.")
    ]
    documents: Annotated[
        dict[str, dict[str, int]], doc("Shard to collection to number of documents.")
    ]
    set_aside: SetAsideStatus = SetAsideStatus()
    embedding: Annotated[EmbeddingLoad | None, doc("null if its indexer has embedded nothing.")] = (
        None
    )
    memory_mb: Annotated[
        dict[str, float],
        doc(
            "Its own process (worker), scorers and indexer to the memory that they have for "
            "themselves, in MB; without what the system does not tell."
        ),
    ] = {}
