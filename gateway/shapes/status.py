"""The state of the cluster as one gateway sees it."""

from typing import Annotated, Literal

import msgspec

from hedgerow.gateway.shapes.access import AccessStatus
from hedgerow.gateway.shapes.collection import CoverageReport
from hedgerow.gateway.shapes.doc import doc
from hedgerow.gateway.shapes.operations import QuarantinedQuery, ShortageStatus
from hedgerow.gateway.shapes.worker import LoopLoad, WorkerStatus

State = Literal["closed", "open", "half_open", "forced_open", "disabled"]


class BreakerTransition(msgspec.Struct, frozen=True):
    """One change of a breaker's state."""

    ago_s: float
    before: State
    after: State
    reason: str


class BreakerDetail(msgspec.Struct, frozen=True):
    """What a breaker knows of its shard."""

    consecutive_failures: int
    calls: Annotated[int, doc("Calls in the sliding window.")]
    failure_rate: Annotated[float | None, doc("Failures among them, in percent.")]
    slow_call_rate: Annotated[float | None, doc("Slow ones among them, in percent.")]
    retry_in_s: Annotated[
        float | None, doc("Time until a call may be let through; null while forced open.")
    ]
    transitions: Annotated[list[BreakerTransition], doc("The last 32, oldest first.")]


class ShardStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One shard."""

    shard: int
    workers: Annotated[list[str], doc("Live workers that serve it.")]
    replicas: Annotated[int, doc("Live replicas of it that they serve.")]
    breaker: Annotated[State, doc("State of this gateway's breaker.")]
    breaker_detail: BreakerDetail
    profile_breakers: Annotated[
        dict[str, str],
        doc(
            "Rank profile with a second phase to the state of its own breaker, unless it is closed."
        ),
    ] = {}
    backlog: Annotated[
        int | None, doc("Search requests that wait in its queue; null when Redis does not answer.")
    ]
    documents: Annotated[dict[str, int], doc("Collection to documents that it holds.")]


class StatisticsStatus(msgspec.Struct, frozen=True):
    """How a collection's term statistics stand."""

    shards: Annotated[
        int | None, doc("Shards that have told theirs; null when Redis does not answer.")
    ]
    changes_behind: Annotated[
        int | None,
        doc(
            "Documents put in, replaced or deleted that they do not count yet; null when Redis "
            "does not answer."
        ),
    ]
    is_current: Annotated[bool, doc("Whether their sum counts every change.")]
    is_spread: Annotated[bool, doc("Whether every worker with documents ranks by that sum.")]


class IndexStatus(msgspec.Struct, frozen=True):
    """How a collection's text indexes are, and how their optimising stands."""

    segments: Annotated[
        int, doc("Of the index that has the most; a search of a shard looks into all of its.")
    ]
    wanted_at_ms: Annotated[
        int | None,
        doc("When optimising was last asked for, in ms since 1970 by Redis; null if never."),
    ]
    waiting: Annotated[
        int | None,
        doc(
            "Replicas that have yet to do so, of those that are live; a shard without any counts "
            "as one. Null when Redis does not answer."
        ),
    ]


class CollectionStatus(msgspec.Struct, frozen=True):
    """One collection."""

    name: str
    documents: int
    statistics: StatisticsStatus
    index: IndexStatus
    coverage_curve: Annotated[
        CoverageReport,
        doc("At the default deadline, with a handful of points, by this gateway's queries."),
    ]


class SnapshotStatus(msgspec.Struct, frozen=True):
    """The newest snapshot of one shard; null where there is none."""

    shard: int
    id: Annotated[str | None, doc("Its name on the target.")]
    position: Annotated[str | None, doc("The last log entry that is in it.")]
    made_at_ms: Annotated[int | None, doc("When it was begun, in ms since 1970 by Redis.")]
    documents: int | None
    bytes: int | None
    log_kept: Annotated[int, doc("Applied log entries that are kept for the next one.")]
    is_running: Annotated[bool, doc("Whether one is being made.")]
    failed_at_ms: Annotated[int | None, doc("When the last attempt failed, if it did.")]
    error: Annotated[str, doc("Why.")]


class RedisStatus(msgspec.Struct, frozen=True):
    """The server; all but `connected` is null when it does not answer."""

    connected: bool
    name: str | None
    version: str | None
    pid: int | None


class HedgeCounts(msgspec.Struct, frozen=True):
    """What became of second copies."""

    sent: int
    won: Annotated[int, doc("The second copy answered first.")]
    lost_before_start: Annotated[int, doc("Taken off the queue again.")]
    lost_while_running: Annotated[int, doc("A worker had it when the first copy answered.")]
    refused: Annotated[int, doc("Not sent, since max_extra_load was used up.")]


class Hedges(msgspec.Struct, frozen=True):
    """Second copies of what one worker had started and not answered in time."""

    search: HedgeCounts
    fetch: HedgeCounts


class ProfileAdmission(msgspec.Struct, frozen=True):
    """The admission of one rank profile with a second phase, which has its own limit."""

    limit: Annotated[int, doc("Queries that may be in flight, as learnt.")]
    in_flight: Annotated[int, doc("Queries in flight.")]
    refused: Annotated[int, doc("Queries refused since the start.")]


class AdmissionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What admission control of this gateway lets in and refuses."""

    enabled: bool
    limit: Annotated[int, doc("Queries that may be in flight, as learnt.")]
    in_flight: Annotated[dict[str, int], doc("Priority to queries that were let in.")]
    refused: Annotated[
        dict[str, dict[str, int]], doc("Cause to priority to queries refused since the start.")
    ]
    forecast_ms: Annotated[
        list[float], doc("For each shard, how long a request sent now would wait in its queue.")
    ]
    profiles: Annotated[
        dict[str, ProfileAdmission], doc("Rank profile with a second phase to its admission.")
    ] = {}


class RequestsRefused(msgspec.Struct, frozen=True):
    """Requests refused since the start, that are neither searches nor bulk loads."""

    requests: Annotated[int, doc("Because max_requests were in progress.")]
    share: Annotated[int, doc("Because the key or address had used up its share of them.")]


class RequestsStatus(msgspec.Struct, frozen=True):
    """The requests that are neither searches nor bulk loads."""

    limit: Annotated[int, doc("Requests that may be in progress (max_requests).")]
    in_flight: Annotated[int, doc("Requests in progress.")]
    refused: RequestsRefused


class RefusedAddress(msgspec.Struct, frozen=True):
    """An address that sends no key."""

    address: Annotated[
        str, doc("IPv4 address, or IPv6 network; empty for all that are too many to tell apart.")
    ]
    refused: Annotated[int, doc("What was refused to it, while it has been remembered.")]


class AddressesStatus(msgspec.Struct, frozen=True):
    """Searches and requests refused because of the share of an address that sends no key."""

    refused: Annotated[int, doc("Since the start, for all addresses.")]
    most_refused: Annotated[
        list[RefusedAddress],
        doc("Of the addresses that are remembered, the eight with most, the first first."),
    ]


class AnswersStatus(msgspec.Struct, frozen=True):
    """The documents of answers that this gateway holds until their clients have read them."""

    held_bytes: Annotated[int, doc("Bytes that are held, except in replies of up to 64 KiB.")]
    refused: Annotated[int, doc("Replies dropped since the start because of max_held_bytes.")]


class GatewayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway that answers."""

    id: Annotated[str, doc("Another one at each start.")]
    version: str
    in_flight: Annotated[int, doc("Searches under way.")]
    counters: Annotated[dict[str, int], doc("Event to how often it happened since the start.")]
    answers: AnswersStatus = AnswersStatus(held_bytes=0, refused=0)
    loop: LoopLoad
    hedges: Hedges
    admission: AdmissionStatus
    requests: RequestsStatus = RequestsStatus(
        limit=0, in_flight=0, refused=RequestsRefused(requests=0, share=0)
    )
    addresses: AddressesStatus = msgspec.field(
        default_factory=lambda: AddressesStatus(refused=0, most_refused=[])
    )
    access: AccessStatus = msgspec.field(
        default_factory=lambda: AccessStatus(open=False, keys=[], keys_error="")
    )
    clock_error_us: Annotated[float, doc("How well it knows the time of Redis's clock.")]


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the cluster."""

    shards: list[ShardStatus]
    workers: list[WorkerStatus]
    collections: list[CollectionStatus]
    shortages: Annotated[list[ShortageStatus], doc("What runs out, and where.")] = []
    quarantine: Annotated[list[QuarantinedQuery], doc("Empty when Redis does not answer.")]
    snapshots: Annotated[list[SnapshotStatus], doc("Empty when Redis does not answer.")]
    redis: RedisStatus
    gateway: GatewayStatus
