"""The state of the cluster as one gateway sees it."""

from typing import Annotated, Literal

import msgspec

from hedgerow.gateway.shapes.access import AccessStatus
from hedgerow.gateway.shapes.collection import CoverageReport, Filling
from hedgerow.gateway.shapes.doc import doc
from hedgerow.gateway.shapes.operations import QuarantinedQuery, ShortageStatus
from hedgerow.gateway.shapes.reindex import ReindexReport
from hedgerow.gateway.shapes.split import RunningSplit
from hedgerow.gateway.shapes.worker import LoopLoad, WorkerStatus

State = Literal["closed", "open", "half_open", "forced_open", "disabled"]


class BreakerTransition(msgspec.Struct, frozen=True):
    """One change of a breaker's state."""

    ago_s: float
    before: State
    after: State
    reason: str


class BreakerDetail(msgspec.Struct, frozen=True):
    """The window of a breaker, and its transitions."""

    consecutive_failures: int
    calls: Annotated[int, doc("Calls in the sliding window.")]
    failure_rate: Annotated[float | None, doc("Failures among them, in percent.")]
    slow_call_rate: Annotated[float | None, doc("Slow ones among them, in percent.")]
    retry_in_s: Annotated[
        float | None, doc("Time until a call may be allowed; null while forced open.")
    ]
    transitions: Annotated[list[BreakerTransition], doc("The last 32, oldest first.")]


class ShardStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One shard."""

    shard: int
    workers: Annotated[list[str], doc("Live workers that serve it.")]
    replicas: Annotated[int, doc("Live replicas of the shard.")]
    breaker: Annotated[State, doc("State of this gateway's breaker.")]
    breaker_detail: BreakerDetail
    profile_breakers: Annotated[
        dict[str, str],
        doc(
            "Rank profile with a second phase to the state of its own breaker, unless it is closed."
        ),
    ] = {}
    backlog: Annotated[
        int | None, doc("Search requests waiting in its queue; null if Redis does not answer.")
    ]
    documents: Annotated[dict[str, int], doc("Collection to number of documents.")]


class StatisticsStatus(msgspec.Struct, frozen=True):
    """The state of a collection's term statistics."""

    shards: Annotated[
        int | None, doc("Shards that have reported theirs; null if Redis does not answer.")
    ]
    changes_behind: Annotated[
        int | None,
        doc(
            "Documents added, replaced or deleted that they do not include yet; null if Redis "
            "does not answer."
        ),
    ]
    is_current: Annotated[bool, doc("Whether their sum includes every change.")]
    is_spread: Annotated[bool, doc("Whether every worker with documents ranks by that sum.")]


class IndexStatus(msgspec.Struct, frozen=True):
    """The state of a collection's text indexes, and of their optimising."""

    segments: Annotated[
        int, doc("Segments of the index with the most; a search of a shard reads all segments.")
    ]
    wanted_at_ms: Annotated[
        int | None,
        doc("When optimising was last requested, in ms since 1970 by Redis; null if never."),
    ]
    waiting: Annotated[
        int | None,
        doc(
            "Live replicas that have yet to optimise; a shard without a live replica counts as "
            "one. Null if Redis does not answer."
        ),
    ]
    filling: Annotated[
        Filling | None, doc("Progress of fields that were added; null if all are filled.")
    ] = None


class CollectionStatus(msgspec.Struct, frozen=True):
    """One collection."""

    name: str
    documents: int
    statistics: StatisticsStatus
    index: IndexStatus
    coverage_curve: Annotated[
        CoverageReport,
        doc("At the default deadline, with a few points, from this gateway's queries."),
    ]


class SnapshotStatus(msgspec.Struct, frozen=True):
    """The newest snapshot of one shard; members are null if there is none."""

    shard: int
    id: Annotated[str | None, doc("Its name on the target.")]
    position: Annotated[str | None, doc("The last log entry in it.")]
    made_at_ms: Annotated[int | None, doc("When it was started, in ms since 1970 by Redis.")]
    documents: int | None
    bytes: int | None
    log_kept: Annotated[int, doc("Applied log entries that are kept for the next snapshot.")]
    is_running: Annotated[bool, doc("Whether a snapshot is being made.")]
    failed_at_ms: Annotated[int | None, doc("When the last attempt failed, if it did.")]
    error: Annotated[str, doc("Why.")]


class RedisStatus(msgspec.Struct, frozen=True):
    """The server; all members but `connected` are null if it does not answer."""

    connected: bool
    name: str | None
    version: str | None
    pid: int | None


class HedgeCounts(msgspec.Struct, frozen=True):
    """How second copies ended."""

    sent: int
    won: Annotated[int, doc("The second copy answered first.")]
    lost_before_start: Annotated[int, doc("Removed from the queue.")]
    lost_while_running: Annotated[int, doc("A worker had started it when the first copy answered.")]
    refused: Annotated[int, doc("Not sent because max_extra_load was used up.")]


class Hedges(msgspec.Struct, frozen=True):
    """Second copies of requests that a worker had started but not answered in time."""

    search: HedgeCounts
    fetch: HedgeCounts


class ProfileAdmission(msgspec.Struct, frozen=True):
    """The admission of one rank profile with a second phase, which has its own limit."""

    limit: Annotated[int, doc("Queries that may be in flight, as learnt.")]
    in_flight: Annotated[int, doc("Queries in flight.")]
    refused: Annotated[int, doc("Queries refused since the start.")]


class AdmissionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The admission control of this gateway."""

    enabled: bool
    limit: Annotated[int, doc("Queries that may be in flight, as learnt.")]
    in_flight: Annotated[dict[str, int], doc("Priority to queries in flight.")]
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
    """Refusals since the start of requests other than searches and bulk loads."""

    requests: Annotated[int, doc("Because max_requests were in progress.")]
    share: Annotated[int, doc("Because the key or address had used up its share.")]


class RequestsStatus(msgspec.Struct, frozen=True):
    """The requests other than searches and bulk loads."""

    limit: Annotated[int, doc("Requests that may be in progress (max_requests).")]
    in_flight: Annotated[int, doc("Requests in progress.")]
    refused: RequestsRefused


class RefusedAddress(msgspec.Struct, frozen=True):
    """An address that sends no key."""

    address: Annotated[
        str, doc("IPv4 address, or IPv6 network; empty for further addresses together.")
    ]
    refused: Annotated[int, doc("Refusals to it, since it has been remembered.")]


class AddressesStatus(msgspec.Struct, frozen=True):
    """Searches and requests refused because an address without a key used up its share."""

    refused: Annotated[int, doc("Since the start, for all addresses.")]
    most_refused: Annotated[
        list[RefusedAddress],
        doc("The eight remembered addresses with most refusals, most first."),
    ]


class AnswersStatus(msgspec.Struct, frozen=True):
    """The documents of answers that this gateway holds until their clients have read them."""

    held_bytes: Annotated[int, doc("Bytes held, except in replies of up to 64 KiB.")]
    refused: Annotated[int, doc("Replies dropped since the start because of max_held_bytes.")]


class TracingStatus(msgspec.Struct, frozen=True):
    """The traces of this gateway, since the start."""

    kept: Annotated[int, doc("Traces that were kept.")]
    dropped: Annotated[int, doc("Traces worth keeping, but over tracing.max_traces_per_second.")]
    spans_sent: Annotated[int, doc("Spans that the receiver has taken.")]
    spans_dropped: Annotated[
        int, doc("Spans that found no room in the queue, or that the receiver did not take.")
    ]
    spans_waiting: Annotated[int, doc("Spans that wait to be sent.")]


class EmbeddingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of this gateway's queries, of which functions make vectors, since the start."""

    embedded: Annotated[int, doc("Embedded in time.")]
    cached: Annotated[int, doc("Known from before (embed.cached_texts).")]
    expired: Annotated[int, doc("Not embedded by the deadline of the query.")]
    failed: Annotated[int, doc("The function failed.")]
    refused: Annotated[int, doc("Refused, since too many waited (embed.max_waiting).")]
    calls: Annotated[int, doc("Calls of functions; each embeds the texts that waited together.")]
    seconds: Annotated[float, doc("Time that the calls took, in s.")]
    waiting: Annotated[int, doc("Texts that wait now.")]


class GatewayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway that answers."""

    id: Annotated[str, doc("Changes at each start.")]
    version: str
    in_flight: Annotated[int, doc("Searches in flight.")]
    counters: Annotated[dict[str, int], doc("Event to number of occurrences since the start.")]
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
    clock_error_us: Annotated[float, doc("Largest error of its estimate of Redis's clock.")]
    tracing: Annotated[TracingStatus | None, doc("null while tracing is off.")] = None
    embedding: Annotated[EmbeddingStatus | None, doc("null if no function embeds queries.")] = None


class LiveGateway(msgspec.Struct, frozen=True):
    """A gateway of the cluster, by its last heartbeat."""

    id: Annotated[str, doc("Changes at each start.")]
    pid: int
    host: str
    version: str
    age_ms: Annotated[int, doc("Age of its last heartbeat, which it sends once a second.")]
    uptime_ms: Annotated[int, doc("From its start to that heartbeat.")]
    in_flight: Annotated[int, doc("Searches in flight at that heartbeat.")]
    process: Annotated[int, doc("Its number among the processes that share a port, from 0.")]
    processes: Annotated[int, doc("Processes that share the port (gateway.processes).")]
    process_port: Annotated[
        int | None, doc("Port at which it alone can be reached (gateway.process_port).")
    ]
    leaving: Annotated[bool, doc("Whether it is about to stop.")]


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the cluster."""

    shards: list[ShardStatus]
    workers: list[WorkerStatus]
    collections: list[CollectionStatus]
    shortages: Annotated[list[ShortageStatus], doc("The shortages.")] = []
    quarantine: Annotated[list[QuarantinedQuery], doc("Empty if Redis does not answer.")]
    snapshots: Annotated[list[SnapshotStatus], doc("Empty if Redis does not answer.")]
    redis: RedisStatus
    gateway: GatewayStatus
    gateways: Annotated[
        list[LiveGateway],
        doc("All live gateways of the cluster, this one too; empty if Redis does not answer."),
    ] = []
    split: Annotated[
        RunningSplit | None, doc("The split of the shards in progress; null if there is none.")
    ] = None
    reindex: Annotated[
        ReindexReport | None, doc("The reindex in progress; null if there is none.")
    ] = None
