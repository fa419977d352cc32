"""The metrics of a gateway; docs/metrics.md has a row for each."""

from typing import Final

from hedgerow.common.metrics.metric import Kind, Metric

_COUNTER, _GAUGE, _HISTOGRAM = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

# Searches
SEARCHES: Final = Metric(
    "hedgerow_searches_total", _COUNTER,
    "Searches, by how they ended, why they were refused, and whose key asked",
    ("result", "cause", "key"),
)  # fmt: skip
DURATION: Final = Metric(
    "hedgerow_search_duration_seconds", _HISTOGRAM,
    "Time from the beginning of a search to its answer, without reading it from and writing it to "
    "the connection", ("collection", "profile"),
)  # fmt: skip
PART_DURATION: Final = Metric(
    "hedgerow_search_part_duration_seconds", _HISTOGRAM,
    "Time of each part of a search's way, of a fair sample of the searches",
    ("part",),
)  # fmt: skip
COVERAGE: Final = Metric(
    "hedgerow_search_coverage_ratio", _HISTOGRAM,
    "Share of the documents that an answer reflects, of answers that cover too little as well",
)  # fmt: skip
TIME_LEFT: Final = Metric(
    "hedgerow_search_time_left_seconds", _HISTOGRAM,
    "Time from an answer to its deadline; 0 if it was late",
)  # fmt: skip
OUTCOMES: Final = Metric(
    "hedgerow_shard_outcomes_total", _COUNTER,
    "How the shards' parts of the searches ended that were answered, or that covered too little",
    ("shard", "outcome"),
)  # fmt: skip
LATE_REPLIES: Final = Metric(
    "hedgerow_late_replies_total", _COUNTER,
    "Replies to searches that had ended: after the deadline, or second ones",
)  # fmt: skip

# Embedding of queries
EMBEDDING_TEXTS: Final = Metric(
    "hedgerow_embedding_texts_total", _COUNTER,
    "Texts of queries from which vectors were to be made: embedded, cached, expired, failed, or "
    "refused because too many waited", ("end",),
)  # fmt: skip
EMBEDDING_CALLS: Final = Metric(
    "hedgerow_embedding_calls_total", _COUNTER, "Calls of functions that embed queries"
)
EMBEDDING_TIME: Final = Metric(
    "hedgerow_embedding_seconds_total", _COUNTER, "Time that these calls took"
)
EMBEDDING_WAITING: Final = Metric(
    "hedgerow_embedding_waiting_texts", _GAUGE, "Texts of queries that wait to be embedded"
)

# Reindex
REINDEX: Final = Metric(
    "hedgerow_reindex_documents", _GAUGE,
    "Documents while a collection is reindexed: of the old collection (old), of the new one "
    "(copied), and those of the old one that do not fit (faulty)", ("what",),
)  # fmt: skip

# Guards
BREAKER: Final = Metric(
    "hedgerow_breaker_state", _GAUGE,
    "1 for the state that the breaker is in, and 0 for the others; profile is empty for the "
    "breaker that the profiles without a second phase share", ("shard", "profile", "state"),
)  # fmt: skip
TRANSITIONS: Final = Metric(
    "hedgerow_breaker_transitions_total", _COUNTER, "Changes of a breaker to this state",
    ("shard", "profile", "state"),
)  # fmt: skip
HEDGES_SENT: Final = Metric(
    "hedgerow_hedges_sent_total", _COUNTER, "Second copies of requests that were sent", ("kind",)
)
HEDGES_ENDED: Final = Metric(
    "hedgerow_hedges_ended_total", _COUNTER,
    "Second copies, by how they ended: won, or wasted (lost_before_start, lost_while_running)",
    ("kind", "end"),
)  # fmt: skip
HEDGES_REFUSED: Final = Metric(
    "hedgerow_hedges_refused_total", _COUNTER,
    "Second copies that were due and not sent, because max_extra_load was used up", ("kind",),
)  # fmt: skip
LIMIT: Final = Metric(
    "hedgerow_admission_limit", _GAUGE,
    "Searches that may be in flight, as learnt; profile is empty for the shared limit",
    ("profile",),
)  # fmt: skip
IN_FLIGHT: Final = Metric("hedgerow_searches_in_flight", _GAUGE, "Searches in flight", ("profile",))
FORECAST: Final = Metric(
    "hedgerow_queue_forecast_seconds", _GAUGE,
    "How long a request that is sent now would wait in the shard's queue", ("shard",),
)  # fmt: skip
QUEUE: Final = Metric(
    "hedgerow_queue_length", _GAUGE, "Search requests that wait in the shard's queue", ("shard",)
)

# Callers
REQUESTS: Final = Metric(
    "hedgerow_requests_in_flight", _GAUGE,
    "Requests in progress that are neither searches nor bulk loads",
)  # fmt: skip
LIMITS_HIT: Final = Metric(
    "hedgerow_limits_hit_total", _COUNTER,
    "How often a limit held a client back: connections, heads, answers, requests, shares",
    ("limit",),
)  # fmt: skip
KEY_REQUESTS: Final = Metric(
    "hedgerow_key_requests_total", _COUNTER, "Requests that came with the key, and were admitted",
    ("key",),
)  # fmt: skip
KEY_REFUSED: Final = Metric(
    "hedgerow_key_requests_refused_total", _COUNTER,
    "Requests that came with the key, and were beyond its rate or its share", ("key", "cause"),
)  # fmt: skip

# Documents
ACCEPTED: Final = Metric(
    "hedgerow_documents_accepted_total", _COUNTER, "Documents that this gateway has logged",
    ("collection",),
)  # fmt: skip
REJECTED: Final = Metric(
    "hedgerow_documents_rejected_total", _COUNTER, "Lines that this gateway has rejected",
    ("collection",),
)  # fmt: skip
EXPIRED: Final = Metric(
    "hedgerow_documents_expired_total", _COUNTER,
    "Documents that this gateway has deleted since they had expired",
)  # fmt: skip
DOCUMENTS: Final = Metric(
    "hedgerow_collection_documents", _GAUGE, "Documents of the collection", ("collection",)
)
LOG_LAG: Final = Metric(
    "hedgerow_replica_log_lag_seconds", _GAUGE,
    "Age of the oldest entry of the shard's log that the worker's replica has yet to apply",
    ("worker", "shard"),
)  # fmt: skip

# The cluster
WORKERS: Final = Metric("hedgerow_workers", _GAUGE, "Live workers")
REPLICAS: Final = Metric(
    "hedgerow_shard_replicas", _GAUGE, "Live replicas that serve the shard", ("shard",)
)
PROBATION: Final = Metric("hedgerow_workers_on_probation", _GAUGE, "Live workers on probation")
QUARANTINED: Final = Metric(
    "hedgerow_quarantined_queries", _GAUGE, "Queries that are refused for having killed scorers"
)
SNAPSHOT_TIME: Final = Metric(
    "hedgerow_snapshot_timestamp_seconds", _GAUGE,
    "When the shard's newest snapshot was begun, a Unix time by the Redis server's clock",
    ("shard",),
)  # fmt: skip
SNAPSHOT_BYTES: Final = Metric(
    "hedgerow_snapshot_size_bytes", _GAUGE, "Size of the shard's newest snapshot", ("shard",)
)
SNAPSHOT_FAILED: Final = Metric(
    "hedgerow_snapshot_failed", _GAUGE, "1 if the shard's last snapshot failed", ("shard",)
)
SNAPSHOT_KEPT: Final = Metric(
    "hedgerow_snapshot_log_entries", _GAUGE,
    "Applied entries of the shard's log that are kept for its next snapshot", ("shard",),
)  # fmt: skip
SHORTAGES: Final = Metric(
    "hedgerow_shortages", _GAUGE,
    "Shortages: at redis, gateway or a worker's name; of a disk, memory, descriptors or processes",
    ("where", "resource", "state"),
)  # fmt: skip

# Redis, and this process
REDIS_UP: Final = Metric(
    "hedgerow_redis_up",
    _GAUGE,
    "1 if Redis answered this scrape; if 0, what only Redis knows is missing",
)
RECONNECTS: Final = Metric(
    "hedgerow_redis_reconnects_total", _COUNTER,
    "How often a connection of this gateway to Redis was restored",
)  # fmt: skip
UNSENT: Final = Metric(
    "hedgerow_redis_push_failures_total", _COUNTER, "Requests to a shard that Redis did not take"
)
REDIRECTED: Final = Metric(
    "hedgerow_redis_redirected_requests_total",
    _COUNTER,
    "Requests to a shard whose Redis Cluster slot was being moved; they were sent to where it goes",
)
SENT_AGAIN: Final = Metric(
    "hedgerow_redis_requests_sent_again_total",
    _COUNTER,
    "Requests that were sent again since their shard's Redis Cluster slot had moved",
)
MALFORMED: Final = Metric(
    "hedgerow_malformed_replies_total",
    _COUNTER,
    "Messages on the reply channel that were unreadable",
)
CLOCK_ERROR: Final = Metric(
    "hedgerow_clock_error_seconds", _GAUGE,
    "Largest error of the gateway's estimate of the Redis server's clock",
)  # fmt: skip
HELD: Final = Metric(
    "hedgerow_answers_held_bytes", _GAUGE,
    "Documents of answers that their clients have yet to read, except in replies of up to 64 KiB",
)  # fmt: skip
LAG: Final = Metric(
    "hedgerow_event_loop_lag_seconds",
    _HISTOGRAM,
    "How late the gateway's event loop ran its timers",
)
BUILD: Final = Metric(
    "hedgerow_build_info", _GAUGE, "1, with the version of the gateway and of its Python",
    ("version", "python"),
)  # fmt: skip

GATEWAY_METRICS: Final = (
    SEARCHES, DURATION, PART_DURATION, COVERAGE, TIME_LEFT, OUTCOMES, LATE_REPLIES,
    EMBEDDING_TEXTS, EMBEDDING_CALLS, EMBEDDING_TIME, EMBEDDING_WAITING,
    BREAKER, TRANSITIONS, HEDGES_SENT, HEDGES_ENDED, HEDGES_REFUSED, LIMIT, IN_FLIGHT, FORECAST,
    QUEUE,
    REQUESTS, LIMITS_HIT, KEY_REQUESTS, KEY_REFUSED,
    ACCEPTED, REJECTED, EXPIRED, DOCUMENTS, REINDEX, LOG_LAG,
    WORKERS, REPLICAS, PROBATION, QUARANTINED, SNAPSHOT_TIME, SNAPSHOT_BYTES, SNAPSHOT_FAILED,
    SNAPSHOT_KEPT, SHORTAGES,
    REDIS_UP, RECONNECTS, UNSENT, REDIRECTED, SENT_AGAIN, MALFORMED, CLOCK_ERROR, HELD, LAG, BUILD,
)  # fmt: skip
