"""The shape of GET /v1/status as OpenAPI shows it at /docs; no answer passes through it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hedgerow.gateway.http.schema.access_schema import AccessStatus


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


State = Literal["closed", "open", "half_open", "forced_open", "disabled"]


class BreakerTransition(_Shape):
    """One change of a breaker's state."""

    ago_s: float
    before: State
    after: State
    reason: str


class BreakerDetail(_Shape):
    """What a breaker knows of its shard."""

    consecutive_failures: int
    calls: int = Field(description="Calls in the sliding window.")
    failure_rate: float | None = Field(description="Failures among them, in percent.")
    slow_call_rate: float | None = Field(description="Slow ones among them, in percent.")
    retry_in_s: float | None = Field(
        description="Time until a call may be let through; null while forced open."
    )
    transitions: list[BreakerTransition] = Field(description="The last 32, oldest first.")


class ShardStatus(_Shape):
    """One shard."""

    shard: int
    workers: list[str] = Field(description="Live workers that serve it.")
    replicas: int = Field(description="Live replicas of it that they serve.")
    breaker: State = Field(description="State of this gateway's breaker.")
    breaker_detail: BreakerDetail
    profile_breakers: dict[str, str] = Field(
        description="Rank profile with a second phase to the state of its own breaker, unless it "
        "is closed."
    )
    backlog: int | None = Field(
        description="Search requests that wait in its queue; null when Redis does not answer."
    )
    documents: dict[str, int] = Field(description="Collection to documents that it holds.")


class ProfileLoad(_Shape):
    """What one rank profile's functions hold of a lane."""

    most: int = Field(description="Threads or processes that it may hold.")
    held: int = Field(description="Those that it holds.")
    refused: int = Field(description="Calls refused since the start, because it held all of them.")


class ScorerLane(_Shape):
    """A lane of processes."""

    capacity: int = Field(description="Processes that there should be.")
    alive: int = Field(description="Processes that can take work.")
    busy: int = Field(description="Processes that have work.")
    waiting: int = Field(description="Works that wait for a process.")
    in_flight: int = Field(description="Works that processes have been given.")
    restarts: int = Field(description="Processes that ended and were replaced.")
    crashes: int = Field(description="Processes that died under work.")
    killed: int = Field(description="Processes killed since they ignored their budget.")
    recycled: int = Field(
        description="Processes replaced since they had grown beyond scorer_max_memory_mb."
    )
    service_us: float = Field(description="Moving average of the time of one work, in µs.")
    quarantined: int = Field(description="Queries that are refused.")
    profiles: dict[str, ProfileLoad] = Field(description="Rank profile to what it holds.")
    pids: list[int] = Field(description="The processes; 0 for one that is down.")


class ThreadLane(_Shape):
    """The threads of blocking calls."""

    capacity: int = Field(description="Threads that there are.")
    busy: int = Field(description="Threads in a call, lost ones included.")
    lost: int = Field(description="Threads whose call has not come back in time.")
    waiting: int = Field(description="Calls that wait for a thread.")
    late: int = Field(description="Calls, ever, that were no longer waited for.")
    profiles: dict[str, ProfileLoad] = Field(description="Rank profile to what it holds.")


class LoopLoad(_Shape):
    """How late an event loop has been."""

    lags: int = Field(description="How often the loop lagged over the threshold.")
    max_lag_ms: float = Field(description="The worst lag since the start.")


class Lanes(_Shape):
    """The lanes of a worker."""

    process: ScorerLane = Field(description="The scorers.")
    reading: ThreadLane = Field(description="Reading of stored documents.")
    thread: ThreadLane = Field(description="enrich.")
    indexer: ScorerLane = Field(description="The process that applies writes.")
    loop: LoopLoad = Field(description="The event loop.")


class WorkDone(_Shape):
    """Requests that ended in one way."""

    count: int = Field(description="Requests.")
    work_us: int = Field(description="Time that they occupied a lane, in µs.")
    cpu_us: int = Field(description="CPU time that was spent on them, in µs.")


class Ledger(_Shape):
    """What a worker's work since its start was for."""

    answered: WorkDone = Field(description="A reply was sent.")
    dropped: WorkDone = Field(description="Never started: expired or cancelled before.")
    stopped: WorkDone = Field(description="Stopped when nobody waited any more.")
    killed: WorkDone = Field(description="Ran on regardless, and was killed with its scorer.")
    late: WorkDone = Field(
        description="A reply was sent after its deadline, for the gateway to learn from."
    )
    unused: WorkDone = Field(description="Ran to its end, too late for anybody.")
    unstoppable: WorkDone = Field(description="Blocking calls that ran on with nobody waiting.")


class ProbationStatus(_Shape):
    """Why a worker is on probation."""

    gateway: str = Field(description="Id of the gateway that says so, and that tries it.")
    reason: str = Field(description="In what it differs from its replicas.")
    since_ms: int = Field(description="When it began, a Unix time in ms.")
    until_ms: int = Field(
        description="When that word ends if its gateway no longer renews it, a Unix time in ms."
    )


class SetAsideStatus(_Shape):
    """Documents that could not be indexed and are kept in files of the worker."""

    bytes: int = Field(description="Their size on disk.")
    dropped: int = Field(
        description="Documents removed since the start, the oldest first, for want of room."
    )


class WorkerStatus(_Shape):
    """One live worker, by its last heartbeat."""

    id: str
    pid: int
    host: str
    shards: list[int] = Field(description="Shards that it serves.")
    gaps: list[int] = Field(description="Shards it does not serve, having missed logged writes.")
    behind: list[int] = Field(
        description="Shards it does not serve yet, since other replicas have applied more."
    )
    on_probation: bool = Field(
        description="Whether it is on probation: it leaves live requests to other replicas."
    )
    probation: ProbationStatus | None = Field(description="Why, and until when; null if it is not.")
    leaves: list[int] = Field(
        description="Shards whose live requests it leaves to others now; not those that have none."
    )
    version: str
    age_ms: int = Field(description="Time since its last heartbeat.")
    uptime_ms: int = Field(description="From its start to that heartbeat.")
    lanes: Lanes
    counters: dict[str, int] = Field(description="Event to how often it happened since the start.")
    ledger: Ledger
    log_backlog: dict[str, int] = Field(
        description="Shard to log entries that some replica has yet to apply."
    )
    documents: dict[str, dict[str, int]] = Field(
        description="Shard to collection to documents that it holds."
    )
    set_aside: SetAsideStatus


class ShortageStatus(_Shape):
    """Something that runs out at a worker, at the server or at the gateway that answers."""

    where: str = Field(description="The worker's id, redis, or gateway.")
    shards: list[int] = Field(description="The shards that the worker stores.")
    resource: Literal["disk", "memory", "descriptors", "processes"] = Field(
        description="While disk or memory runs out, writes are refused."
    )
    state: Literal["low", "full", "read_only"]
    detail: str = Field(description="How much is left, in words.")
    since_ms: int = Field(description="Since when, in ms since 1970.")
    free_bytes: int | None = Field(description="What is left; null if unknown.")


class StatisticsStatus(_Shape):
    """How a collection's term statistics stand."""

    shards: int | None = Field(
        description="Shards that have told theirs; null when Redis does not answer."
    )
    changes_behind: int | None = Field(
        description="Documents put in, replaced or deleted that they do not count yet; null when "
        "Redis does not answer."
    )
    is_current: bool = Field(description="Whether their sum counts every change.")
    is_spread: bool = Field(description="Whether every worker with documents ranks by that sum.")


class CoveragePoint(_Shape):
    """One point of a curve."""

    deadline_ms: float
    coverage: float = Field(description="Share of the documents that is reached, from 0 to 1.")


class CoverageGain(_Shape):
    """What more time would have given."""

    extra_ms: float = Field(description="The least that would have given it, in ms.")
    coverage: float = Field(description="What would have been reached, from 0 to 1.")


class CoverageReport(_Shape):
    """What coverage queries reach on average by which deadline, late replies included."""

    deadline_ms: float = Field(description="The deadline that `coverage` and `gain` speak of.")
    coverage: float | None = Field(
        description="Share of the documents that is reached by it, from 0 to 1; null before the "
        "first query."
    )
    gain: CoverageGain | None = Field(
        description="The most that up to half of the deadline more would have given; null where "
        "nothing, as far as is known."
    )
    points: list[CoveragePoint] = Field(
        description="The curve, ascending; from the last on nothing more is known."
    )


class IndexStatus(_Shape):
    """How a collection's text indexes are, and how their optimising stands."""

    segments: int = Field(
        description="Of the index that has the most; a search of a shard looks into all of its."
    )
    wanted_at_ms: int | None = Field(
        description="When optimising was last asked for, in ms since 1970 by Redis; null if never."
    )
    waiting: int | None = Field(
        description="Replicas that have yet to do so, of those that are live; a shard without any "
        "counts as one. Null when Redis does not answer."
    )


class CollectionStatus(_Shape):
    """One collection."""

    name: str
    documents: int
    statistics: StatisticsStatus
    index: IndexStatus
    coverage_curve: CoverageReport = Field(
        description="At the default deadline, with a handful of points, by this gateway's queries."
    )


class QuarantinedQuery(_Shape):
    """A query that has killed scorers."""

    fingerprint: str = Field(description="What counts as the same query.")
    query: str = Field(description="Its beginning.")
    kills: int = Field(description="Scorers that died under it, in all workers.")
    refused: bool = Field(description="Whether it has killed enough to be refused.")
    until_ms: int = Field(description="When it is forgotten, in ms since 1970 by Redis's clock.")
    workers: list[str] = Field(description="Whose scorers died.")


class QuarantineAnswer(_Shape):
    """The queries that have killed scorers."""

    quarantine: list[QuarantinedQuery]


class SnapshotStatus(_Shape):
    """The newest snapshot of one shard; null where there is none."""

    shard: int
    id: str | None = Field(description="Its name on the target.")
    position: str | None = Field(description="The last log entry that is in it.")
    made_at_ms: int | None = Field(description="When it was begun, in ms since 1970 by Redis.")
    documents: int | None
    bytes: int | None
    log_kept: int = Field(description="Applied log entries that are kept for the next one.")
    is_running: bool = Field(description="Whether one is being made.")
    failed_at_ms: int | None = Field(description="When the last attempt failed, if it did.")
    error: str = Field(description="Why.")


class RedisStatus(_Shape):
    """The server; all but `connected` is null when it does not answer."""

    connected: bool
    name: str | None
    version: str | None
    pid: int | None


class HedgeCounts(_Shape):
    """What became of second copies."""

    sent: int
    won: int = Field(description="The second copy answered first.")
    lost_before_start: int = Field(description="Taken off the queue again.")
    lost_while_running: int = Field(description="A worker had it when the first copy answered.")
    refused: int = Field(description="Not sent, since max_extra_load was used up.")


class Hedges(_Shape):
    """Second copies of what one worker had started and not answered in time."""

    search: HedgeCounts
    fetch: HedgeCounts


class ProfileAdmission(_Shape):
    """The admission of one rank profile with a second phase, which has its own limit."""

    limit: int = Field(description="Queries that may be in flight, as learnt.")
    in_flight: int = Field(description="Queries in flight.")
    refused: int = Field(description="Queries refused since the start.")


class AdmissionStatus(_Shape):
    """What admission control of this gateway lets in and refuses."""

    enabled: bool
    limit: int = Field(description="Queries that may be in flight, as learnt.")
    in_flight: dict[str, int] = Field(description="Priority to queries that were let in.")
    refused: dict[str, dict[str, int]] = Field(
        description="Cause to priority to queries refused since the start."
    )
    forecast_ms: list[float] = Field(
        description="For each shard, how long a request sent now would wait in its queue."
    )
    profiles: dict[str, ProfileAdmission] = Field(
        description="Rank profile with a second phase to its admission."
    )


class RequestsRefused(_Shape):
    """Requests refused since the start, that are neither searches nor bulk loads."""

    requests: int = Field(description="Because max_requests were in progress.")
    share: int = Field(description="Because the key or address had used up its share of them.")


class RequestsStatus(_Shape):
    """The requests that are neither searches nor bulk loads."""

    limit: int = Field(description="Requests that may be in progress (max_requests).")
    in_flight: int = Field(description="Requests in progress.")
    refused: RequestsRefused


class RefusedAddress(_Shape):
    """An address that sends no key."""

    address: str = Field(
        description="IPv4 address, or IPv6 network; empty for all that are too many to tell apart."
    )
    refused: int = Field(description="What was refused to it, while it has been remembered.")


class AddressesStatus(_Shape):
    """Searches and requests refused because of the share of an address that sends no key."""

    refused: int = Field(description="Since the start, for all addresses.")
    most_refused: list[RefusedAddress] = Field(
        description="Of the addresses that are remembered, the eight with most, the first first."
    )


class AnswersStatus(_Shape):
    """The documents of answers that this gateway holds until their clients have read them."""

    held_bytes: int = Field(description="Bytes that are held, except in replies of up to 64 KiB.")
    refused: int = Field(description="Replies dropped since the start because of max_held_bytes.")


class GatewayStatus(_Shape):
    """The gateway that answers."""

    id: str = Field(description="Another one at each start.")
    version: str
    in_flight: int = Field(description="Searches under way.")
    counters: dict[str, int] = Field(description="Event to how often it happened since the start.")
    answers: AnswersStatus
    loop: LoopLoad
    hedges: Hedges
    admission: AdmissionStatus
    requests: RequestsStatus
    addresses: AddressesStatus
    access: AccessStatus
    clock_error_us: float = Field(description="How well it knows the time of Redis's clock.")


class StatusAnswer(_Shape):
    """The state of the cluster."""

    shards: list[ShardStatus]
    workers: list[WorkerStatus]
    collections: list[CollectionStatus]
    shortages: list[ShortageStatus] = Field(description="What runs out, and where.")
    quarantine: list[QuarantinedQuery] = Field(description="Empty when Redis does not answer.")
    snapshots: list[SnapshotStatus] = Field(description="Empty when Redis does not answer.")
    redis: RedisStatus
    gateway: GatewayStatus
