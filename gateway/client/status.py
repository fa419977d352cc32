"""The state of a cluster, as GET /v1/status answers it; docs/http.md says what each member means.

Frozen, by the names of the JSON, with what a newer gateway adds ignored.
"""

from typing import Literal

import msgspec

from hedgerow.gateway.client.answers import CoverageReport, QuarantinedQuery

State = Literal["closed", "open", "half_open", "forced_open", "disabled"]


class BreakerTransition(msgspec.Struct, frozen=True):
    """One change of a breaker's state."""

    ago_s: float
    before: State
    after: State
    reason: str


class BreakerDetail(msgspec.Struct, frozen=True):
    """What a breaker knows of its shard; rates in percent."""

    consecutive_failures: int
    calls: int
    failure_rate: float | None
    slow_call_rate: float | None
    retry_in_s: float | None
    transitions: list[BreakerTransition]


class ShardStatus(msgspec.Struct, frozen=True):
    """One shard; `documents` is collection → documents that it holds."""

    shard: int
    workers: list[str]
    replicas: int
    breaker: State
    breaker_detail: BreakerDetail
    backlog: int | None
    documents: dict[str, int]
    profile_breakers: dict[str, str] = {}


class ProfileLoad(msgspec.Struct, frozen=True):
    """What one rank profile's functions hold of a lane.

    Attributes:
        most: threads or processes that it may hold.
        held: those that it holds.
        refused: works refused since the start, since it held all of them.
    """

    most: int
    held: int
    refused: int


class ScorerLane(msgspec.Struct, frozen=True):
    """A lane of processes."""

    capacity: int
    alive: int
    busy: int
    waiting: int
    in_flight: int
    restarts: int
    crashes: int
    killed: int
    recycled: int
    service_us: float
    quarantined: int
    pids: list[int]
    profiles: dict[str, ProfileLoad] = {}


class ThreadLane(msgspec.Struct, frozen=True):
    """The threads of blocking calls."""

    capacity: int
    busy: int
    lost: int
    waiting: int
    late: int
    profiles: dict[str, ProfileLoad] = {}


class LoopLoad(msgspec.Struct, frozen=True):
    """How late an event loop has been."""

    lags: int
    max_lag_ms: float


class Lanes(msgspec.Struct, frozen=True):
    """The lanes of a worker."""

    process: ScorerLane
    thread: ThreadLane
    indexer: ScorerLane
    loop: LoopLoad
    reading: ThreadLane = ThreadLane(0, 0, 0, 0, 0)


class WorkDone(msgspec.Struct, frozen=True):
    """Requests that ended in one way, the time that they occupied a lane, and its CPU, in µs."""

    count: int
    work_us: int
    cpu_us: int


class Ledger(msgspec.Struct, frozen=True):
    """What a worker's work since its start was for."""

    answered: WorkDone
    dropped: WorkDone
    stopped: WorkDone
    killed: WorkDone
    late: WorkDone
    unused: WorkDone
    unstoppable: WorkDone


class ProbationStatus(msgspec.Struct, frozen=True):
    """Why a worker is on probation, and until when; Unix times in ms."""

    gateway: str
    reason: str
    since_ms: int
    until_ms: int


class SetAsideStatus(msgspec.Struct, frozen=True):
    """Documents that could not be indexed: bytes that are kept, and how many were dropped."""

    bytes: int = 0
    dropped: int = 0


class WorkerStatus(msgspec.Struct, frozen=True):
    """One live worker, by its last heartbeat."""

    id: str
    pid: int
    host: str
    shards: list[int]
    gaps: list[int]
    behind: list[int]
    on_probation: bool
    probation: ProbationStatus | None
    leaves: list[int]
    version: str
    age_ms: int
    uptime_ms: int
    lanes: Lanes
    counters: dict[str, int]
    ledger: Ledger
    log_backlog: dict[str, int]
    documents: dict[str, dict[str, int]]
    set_aside: SetAsideStatus = SetAsideStatus()


class ShortageStatus(msgspec.Struct, frozen=True):
    """Something that runs out at a worker (by its id) or at the server (`redis`)."""

    where: str
    shards: list[int]
    resource: Literal["disk", "memory", "descriptors", "processes"]
    state: Literal["low", "full", "read_only"]
    detail: str
    since_ms: int
    free_bytes: int | None


class StatisticsStatus(msgspec.Struct, frozen=True):
    """How a collection's term statistics stand; None when Redis does not answer."""

    shards: int | None
    changes_behind: int | None
    is_current: bool
    is_spread: bool


class IndexStatus(msgspec.Struct, frozen=True):
    """How a collection's text indexes are, and how their optimising stands."""

    segments: int
    wanted_at_ms: int | None
    waiting: int | None


class CollectionStatus(msgspec.Struct, frozen=True):
    """One collection."""

    name: str
    documents: int
    statistics: StatisticsStatus
    index: IndexStatus
    coverage_curve: CoverageReport


class SnapshotStatus(msgspec.Struct, frozen=True):
    """The newest snapshot of one shard; None where there is none."""

    shard: int
    id: str | None
    position: str | None
    made_at_ms: int | None
    documents: int | None
    bytes: int | None
    log_kept: int
    is_running: bool
    failed_at_ms: int | None
    error: str


class RedisStatus(msgspec.Struct, frozen=True):
    """The server; all but `connected` is None when it does not answer."""

    connected: bool
    name: str | None
    version: str | None
    pid: int | None


class HedgeCounts(msgspec.Struct, frozen=True):
    """What became of second copies."""

    sent: int
    won: int
    lost_before_start: int
    lost_while_running: int
    refused: int


class Hedges(msgspec.Struct, frozen=True):
    """Second copies of what one worker had started and not answered in time."""

    search: HedgeCounts
    fetch: HedgeCounts


class ProfileAdmission(msgspec.Struct, frozen=True):
    """What is let in of one rank profile with a second phase, which has a limit of its own."""

    limit: int
    in_flight: int
    refused: int


class AdmissionStatus(msgspec.Struct, frozen=True):
    """What admission control lets in and refuses."""

    enabled: bool
    limit: int
    in_flight: dict[str, int]
    refused: dict[str, dict[str, int]]
    forecast_ms: list[float]
    profiles: dict[str, ProfileAdmission] = {}


class AnswersStatus(msgspec.Struct, frozen=True):
    """The documents of answers that a gateway holds until their clients have read them.

    Attributes:
        held_bytes: bytes that are held; replies of up to 64 KiB aside.
        refused: replies dropped since the start, over `gateway.max_held_bytes`.
    """

    held_bytes: int
    refused: int


class RequestsRefused(msgspec.Struct, frozen=True):
    """Requests refused: because of the limit of all callers, or because of a caller's share."""

    requests: int
    share: int


class RequestsStatus(msgspec.Struct, frozen=True):
    """The requests in progress that are neither searches nor bulk loads."""

    limit: int
    in_flight: int
    refused: RequestsRefused


class RefusedAddress(msgspec.Struct, frozen=True):
    """An address without a key, and how often it was refused for its share."""

    address: str
    refused: int


class AddressesStatus(msgspec.Struct, frozen=True):
    """What was refused for the share of an address: in all, and to which addresses most."""

    refused: int
    most_refused: list[RefusedAddress]


class KeyRefusals(msgspec.Struct, frozen=True):
    """Requests of a key that were refused, by its rate or for its part of what is in flight."""

    rate: int
    share: int


class KeyStatus(msgspec.Struct, frozen=True):
    """One key, and what it has asked of this gateway; `collections` is None for all."""

    name: str
    rights: list[Literal["search", "write", "admin"]]
    collections: list[str] | None
    rate_per_s: float | None
    share: float | None
    is_expired: bool
    requests: int
    refused: KeyRefusals
    in_flight: int


class AccessStatus(msgspec.Struct, frozen=True):
    """Who may ask; `open` is anyone, `keys_error` why the file of keys could not be read."""

    open: bool
    keys: list[KeyStatus]
    keys_error: str


class GatewayStatus(msgspec.Struct, frozen=True):
    """The gateway that answers."""

    id: str
    version: str
    in_flight: int
    counters: dict[str, int]
    loop: LoopLoad
    hedges: Hedges
    admission: AdmissionStatus
    clock_error_us: float
    answers: AnswersStatus = AnswersStatus(0, 0)
    access: AccessStatus = msgspec.field(default_factory=lambda: AccessStatus(False, [], ""))
    requests: RequestsStatus = RequestsStatus(0, 0, RequestsRefused(0, 0))
    addresses: AddressesStatus = msgspec.field(default_factory=lambda: AddressesStatus(0, []))


class StatusAnswer(msgspec.Struct, frozen=True):
    """The state of the cluster as one gateway sees it."""

    shards: list[ShardStatus]
    workers: list[WorkerStatus]
    collections: list[CollectionStatus]
    quarantine: list[QuarantinedQuery]
    snapshots: list[SnapshotStatus]
    redis: RedisStatus
    gateway: GatewayStatus
    shortages: list[ShortageStatus] = msgspec.field(default_factory=list)
