"""The metrics of a worker, made of its heartbeat: by the worker itself, and by gateways."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from hedgerow.common.metrics.bounded_names import BoundedNames
from hedgerow.common.metrics.histogram import LAG_BOUNDS, Histogram
from hedgerow.common.metrics.metric import Family, Kind, Metric, family, summed
from hedgerow.common.wire.heartbeat import Heartbeat

_COUNTER, _GAUGE, _HISTOGRAM = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_LANE: Final = ("worker", "lane")

INFO: Final = Metric(
    "hedgerow_worker_info", _GAUGE, "1 for each live worker, with its host and version",
    ("worker", "host", "version"),
)  # fmt: skip
STARTED: Final = Metric(
    "hedgerow_worker_start_time_seconds", _GAUGE,
    "When the worker was started, a Unix time by the Redis server's clock", ("worker",),
)  # fmt: skip
HEARTBEAT: Final = Metric(
    "hedgerow_worker_heartbeat_timestamp_seconds", _GAUGE,
    "When the worker sent its last heartbeat, a Unix time by the Redis server's clock",
    ("worker",),
)  # fmt: skip
SHARDS: Final = Metric(
    "hedgerow_worker_shards", _GAUGE,
    "Shards of the worker: served; or not served because of a gap, or because they are behind",
    ("worker", "state"),
)  # fmt: skip
LANE_CAPACITY: Final = Metric(
    "hedgerow_lane_capacity", _GAUGE, "Processes or threads that the lane is configured to have",
    _LANE,
)  # fmt: skip
LANE_ALIVE: Final = Metric(
    "hedgerow_lane_alive", _GAUGE,
    "Processes that can take work; of threads, those that are not lost", _LANE,
)  # fmt: skip
LANE_BUSY: Final = Metric(
    "hedgerow_lane_busy", _GAUGE, "Processes or threads that are working", _LANE
)
LANE_WAITING: Final = Metric(
    "hedgerow_lane_waiting", _GAUGE, "Tasks or calls that wait for a process or thread", _LANE
)
LANE_LOST: Final = Metric(
    "hedgerow_lane_lost", _GAUGE,
    "Threads whose call has not returned in time, and processes that are down", _LANE,
)  # fmt: skip
LANE_ENDED: Final = Metric(
    "hedgerow_lane_processes_ended_total", _COUNTER,
    "Processes of the lane that ended: crashed during a task, killed because they exceeded their "
    "budget, recycled because they had grown, or replaced for any of these or another reason",
    ("worker", "lane", "end"),
)  # fmt: skip
LANE_LATE: Final = Metric(
    "hedgerow_lane_late_calls_total", _COUNTER, "Blocking calls that did not return in time", _LANE
)
LANE_HELD: Final = Metric(
    "hedgerow_lane_profile_held", _GAUGE,
    "Processes or threads that the functions of one rank profile occupy",
    ("worker", "lane", "profile"),
)  # fmt: skip
LANE_REFUSED: Final = Metric(
    "hedgerow_lane_profile_refused_total", _COUNTER,
    "Calls refused because their rank profile occupied as many processes or threads as it may",
    ("worker", "lane", "profile"),
)  # fmt: skip
CPU: Final = Metric(
    "hedgerow_worker_cpu_seconds_total", _COUNTER,
    "CPU time of the worker's own process, of its scorers and of its indexer, in all of their "
    "threads; not on macOS for the latter two", ("worker", "process"),
)  # fmt: skip
MEMORY: Final = Metric(
    "hedgerow_worker_memory_bytes", _GAUGE,
    "Memory that these processes have for themselves, without pages of files; Linux only",
    ("worker", "process"),
)  # fmt: skip
REQUESTS: Final = Metric(
    "hedgerow_worker_requests_total", _COUNTER, "Requests to the worker, by how they ended",
    ("worker", "end"),
)  # fmt: skip
WORK: Final = Metric(
    "hedgerow_worker_work_seconds_total", _COUNTER,
    "Time for which these requests occupied a lane", ("worker", "end"),
)  # fmt: skip
WORK_CPU: Final = Metric(
    "hedgerow_worker_work_cpu_seconds_total", _COUNTER, "CPU time spent on these requests",
    ("worker", "end"),
)  # fmt: skip
EVENTS: Final = Metric(
    "hedgerow_worker_events_total", _COUNTER, "What the worker's other counters count",
    ("worker", "event"),
)  # fmt: skip
RECONNECTS: Final = Metric(
    "hedgerow_worker_redis_reconnects_total", _COUNTER,
    "How often a connection of the worker to Redis was restored", ("worker",),
)  # fmt: skip
LAG: Final = Metric(
    "hedgerow_worker_event_loop_lag_seconds", _HISTOGRAM,
    "How late the worker's event loop ran its timers", ("worker",),
)  # fmt: skip
LOG_ENTRIES: Final = Metric(
    "hedgerow_shard_log_entries", _GAUGE,
    "Entries of the shard's log that some replica has yet to apply, as the worker last saw it",
    ("worker", "shard"),
)  # fmt: skip
SET_ASIDE: Final = Metric(
    "hedgerow_worker_set_aside_bytes", _GAUGE,
    "Size on disk of the documents that could not be indexed", ("worker",),
)  # fmt: skip
EMBEDDED: Final = Metric(
    "hedgerow_worker_embedding_texts_total", _COUNTER,
    "Texts of documents from which vectors were to be made: embedded, or failed; a text that fails "
    "is tried again", ("worker", "end"),
)  # fmt: skip
EMBEDDING_CALLS: Final = Metric(
    "hedgerow_worker_embedding_calls_total", _COUNTER,
    "Calls of functions that embed documents", ("worker",),
)  # fmt: skip
EMBEDDING_TIME: Final = Metric(
    "hedgerow_worker_embedding_seconds_total", _COUNTER,
    "Time that these calls took, in which the worker wrote nothing", ("worker",),
)  # fmt: skip

WORKER_METRICS: Final = (
    INFO, STARTED, HEARTBEAT, SHARDS, LANE_CAPACITY, LANE_ALIVE, LANE_BUSY, LANE_WAITING, LANE_LOST,
    LANE_ENDED, LANE_LATE, LANE_HELD, LANE_REFUSED, CPU, MEMORY, REQUESTS, WORK, WORK_CPU, EVENTS,
    RECONNECTS, LAG, LOG_ENTRIES, SET_ASIDE, EMBEDDED, EMBEDDING_CALLS, EMBEDDING_TIME,
)  # fmt: skip

# A heartbeat's name of a lane → the label.
_LANES: Final = {
    "process": "scorers",
    "reading": "readers",
    "thread": "threads",
    "indexer": "indexer",
}
_ENDS: Final = {
    "crashes": "crashed",
    "killed": "killed",
    "recycled": "recycled",
    "restarts": "replaced",
}


def worker_families(heartbeats: Sequence[Heartbeat], profiles: BoundedNames) -> Iterator[Family]:
    """The metrics of some workers.

    Args:
        heartbeats: the last of each.
        profiles: the rank profiles that have series of their own.
    """
    yield family(INFO, ((beat.id, beat.host, beat.version, 1) for beat in heartbeats))
    yield family(STARTED, ((beat.id, beat.started_at_ms / 1000) for beat in heartbeats))
    yield family(HEARTBEAT, ((beat.id, beat.beat_at_ms / 1000) for beat in heartbeats))
    yield family(SHARDS, _shards(heartbeats))
    yield from _lane_families(heartbeats, profiles)
    yield family(CPU, _usage(heartbeats, "cpu_s", 1.0))
    yield family(MEMORY, _usage(heartbeats, "memory_mb", 1e6))
    yield family(REQUESTS, _ledger(heartbeats, "count", 1))
    yield family(WORK, _ledger(heartbeats, "work_us", 1e6))
    yield family(WORK_CPU, _ledger(heartbeats, "cpu_us", 1e6))
    yield family(
        EVENTS,
        ((beat.id, *item) for beat in heartbeats for item in sorted(beat.counters.items())),
    )
    yield family(
        RECONNECTS,
        ((beat.id, number(beat.metrics, "redis_reconnects") or 0) for beat in heartbeats),
    )
    yield family(LAG, _lags(heartbeats))
    yield family(
        LOG_ENTRIES,
        ((beat.id, *item) for beat in heartbeats for item in sorted(beat.log_backlog.items())),
    )
    yield family(SET_ASIDE, ((beat.id, beat.set_aside.get("bytes", 0)) for beat in heartbeats))
    embedding = [beat for beat in heartbeats if beat.embedding]
    yield family(
        EMBEDDED,
        (
            (beat.id, end, number(beat.embedding, name) or 0)
            for beat in embedding
            for name, end in (("texts", "embedded"), ("failed", "failed"))
        ),
    )
    yield family(
        EMBEDDING_CALLS, ((beat.id, number(beat.embedding, "calls") or 0) for beat in embedding)
    )
    yield family(
        EMBEDDING_TIME, ((beat.id, number(beat.embedding, "seconds") or 0) for beat in embedding)
    )


def number(found: Mapping[str, Any], name: str) -> float | None:
    """A member that is a number; None if another version lacks it or has another type there."""
    value = found.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else None


def _shards(heartbeats: Iterable[Heartbeat]) -> Iterator[tuple[str, str, int]]:
    for beat in heartbeats:
        yield beat.id, "served", len(beat.shards)
        yield beat.id, "gap", len(beat.gaps)
        yield beat.id, "behind", len(beat.behind)


def _lanes(heartbeats: Iterable[Heartbeat]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Worker, label of the lane, and its load."""
    for beat in heartbeats:
        for name, label in _LANES.items():
            load = beat.lanes.get(name)
            if isinstance(load, dict):
                yield beat.id, label, load


def _lane_families(heartbeats: Sequence[Heartbeat], profiles: BoundedNames) -> Iterator[Family]:
    lanes = list(_lanes(heartbeats))

    def each(name: str) -> Iterator[tuple[str, str, float]]:
        for worker, label, load in lanes:
            value = number(load, name)
            if value is not None:
                yield worker, label, value

    yield family(LANE_CAPACITY, each("capacity"))
    yield family(LANE_ALIVE, ((worker, lane, alive) for worker, lane, alive, _ in _alive(lanes)))
    yield family(LANE_BUSY, each("busy"))
    yield family(LANE_WAITING, each("waiting"))
    yield family(LANE_LOST, ((worker, lane, lost) for worker, lane, _, lost in _alive(lanes)))
    yield family(
        LANE_ENDED,
        (
            (worker, label, end, value)
            for worker, label, load in lanes
            for name, end in _ENDS.items()
            if (value := number(load, name)) is not None
        ),
    )
    yield family(LANE_LATE, each("late"))
    yield family(LANE_HELD, summed(_by_profile(lanes, "held", profiles)))
    yield family(LANE_REFUSED, summed(_by_profile(lanes, "refused", profiles)))


def _alive(
    lanes: Iterable[tuple[str, str, Mapping[str, Any]]],
) -> Iterator[tuple[str, str, float, float]]:
    """Worker, lane, how many of its processes or threads can work, and how many cannot."""
    for worker, label, load in lanes:
        capacity = number(load, "capacity") or 0
        alive, lost = number(load, "alive"), number(load, "lost")
        if alive is None:
            alive = capacity - (lost or 0)
        yield worker, label, alive, max(capacity - alive, 0) if lost is None else lost


def _by_profile(
    lanes: Iterable[tuple[str, str, Mapping[str, Any]]], name: str, profiles: BoundedNames
) -> Iterator[tuple[str, str, str, float]]:
    for worker, label, load in lanes:
        held = load.get("profiles")
        for profile, counts in held.items() if isinstance(held, dict) else ():
            yield worker, label, profiles.of(profile), number(counts, name) or 0


def _usage(
    heartbeats: Iterable[Heartbeat], name: str, scale: float
) -> Iterator[tuple[str, str, float]]:
    for beat in heartbeats:
        usage = beat.metrics.get("usage")
        for process, found in usage.items() if isinstance(usage, dict) else ():
            value = number(found, name) if isinstance(found, dict) else None
            if value is not None:
                yield beat.id, process, value * scale


def _ledger(
    heartbeats: Iterable[Heartbeat], name: str, per_unit: float
) -> Iterator[tuple[str, str, float]]:
    for beat in heartbeats:
        for end, sums in beat.ledger.items():
            value = sums.get(name, 0)
            yield beat.id, end, value if per_unit == 1 else value / per_unit


def _lags(heartbeats: Iterable[Heartbeat]) -> Iterator[tuple[str, object]]:
    for beat in heartbeats:
        found = Histogram.read(LAG_BOUNDS, beat.metrics.get("loop_lag"))
        if found is not None:
            yield beat.id, found
