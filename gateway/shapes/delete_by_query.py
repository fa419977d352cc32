"""Deleting the documents that a query finds."""

from typing import Annotated

import msgspec
from msgspec import Meta

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.shapes.answer import TotalHits
from hedgerow.gateway.shapes.doc import doc


class DeleteByQueryBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which documents to delete, and how far to go."""

    query: Annotated[str, doc("The query; a syntax error is always an error. `*` for all.")]
    filter: Annotated[str, doc("Query that the documents must match too.")] = ""
    limit: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        doc("Delete at most this many documents; all if null."),
    ] = None
    timeout_ms: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        doc("Stop after this time, in ms; at most, and by default, the gateway's write_timeout_s."),
    ] = None
    dry_run: Annotated[bool, doc("Only count what would be deleted.")] = False


class MissingShard(msgspec.Struct, frozen=True):
    """A shard that the last search could not ask, or that has not answered it."""

    shard: int
    outcome: Outcome
    reason: str


class DeleteByQueryAnswer(msgspec.Struct, frozen=True):
    """What was found and deleted."""

    found: Annotated[
        TotalHits,
        doc("How many documents the first search found, in the shards that have answered it."),
    ]
    deleted: Annotated[int, doc("How many were deleted.")]
    complete: Annotated[
        bool,
        doc("Whether a last search of every shard has found none that is left."),
    ]
    reason: Annotated[
        str | None, doc("Why it is not complete; null if it is, or nothing was tried.")
    ]
    missing_shards: Annotated[
        list[MissingShard],
        doc("The shards that the last search lacks; their documents stay."),
    ]
    dry_run: bool
    warnings: Annotated[list[str], doc("Of the query; with any, nothing is deleted.")]
