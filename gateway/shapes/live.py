"""The shapes of the messages of GET /v1/events, beside the status."""

from typing import Annotated, Literal

import msgspec

from hedgerow.gateway.shapes.doc import doc

EventKind = Literal[
    "worker",
    "probation",
    "breaker",
    "redis",
    "shortage",
    "collection",
    "quarantine",
    "snapshot",
]
Level = Literal["good", "info", "warning", "bad"]


class LivePoint(msgspec.Struct, frozen=True, gc=False):
    """One second of a gateway's searches."""

    at_ms: Annotated[int, doc("The end of the second, in ms since 1970 by the gateway's clock.")]
    full: Annotated[int, doc("Answers that reflect every document.")]
    partial: Annotated[int, doc("Answers that reflect less.")]
    insufficient: Annotated[
        int, doc("Searches that failed because too little, or nothing, was searched (503, 504).")
    ]
    refused: Annotated[int, doc("Searches refused before a shard was asked (429, 503).")]
    p50_ms: Annotated[float | None, doc("Median answer time; null if nothing was answered.")]
    p99_ms: Annotated[float | None, doc("99th percentile of the answer times.")]
    coverage: Annotated[float | None, doc("Mean coverage, from 0 to 1.")]
    outcomes: Annotated[dict[str, int], doc("Outcome to number of shards' parts; without zeros.")]
    in_flight: Annotated[int, doc("Searches in flight at the end of the second.")]
    limit: Annotated[int, doc("Admission limit of the profiles without a second phase.")]
    hedges_sent: Annotated[int, doc("Second copies sent, of searches and fetches.")]
    hedges_won: Annotated[int, doc("Second copies that answered first.")]


class LiveEvent(msgspec.Struct, frozen=True, gc=False):
    """A change that the gateway has noticed."""

    id: Annotated[int, doc("Ascending; counted from the gateway's start.")]
    at_ms: Annotated[int, doc("When it was noticed, in ms since 1970 by the gateway's clock.")]
    kind: EventKind
    level: Annotated[Level, doc("Whether it is good news, neutral, a warning or bad news.")]
    text: Annotated[str, doc("The change, in words.")]
    shard: Annotated[int | None, doc("The shard concerned.")] = None
    worker: Annotated[str | None, doc("The worker concerned.")] = None


class LiveHistory(msgspec.Struct, frozen=True):
    """The first message: the last minutes."""

    gateway: Annotated[str, doc("Id of the gateway; another one begins another history.")]
    period_s: Annotated[float, doc("Time between two points, and between two statuses.")]
    points: Annotated[list[LivePoint], doc("Oldest first, at most 300.")]
    events: Annotated[list[LiveEvent], doc("Oldest first, at most 200.")]
