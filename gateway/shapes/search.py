"""A search as it is asked."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hedgerow.gateway.shapes.doc import doc


class Search(msgspec.Struct, frozen=True, gc=False):
    """A search of a collection, with the limits and defaults that hold for every gateway."""

    collection: str
    query: Annotated[str, doc("The query: words, phrases, fields, ranges; see docs/ranking.md.")]
    k: Annotated[int, Meta(ge=1, description="Most hits wanted.")] = 10
    deadline_ms: Annotated[
        float, Meta(gt=0, description="The answer leaves within so long, in ms.")
    ] = 300.0
    rank_profile: Annotated[
        str | None, doc("Name of a configured rank profile; the collection's own if null.")
    ] = None
    filter: Annotated[str, doc("Query that hits must match too, without a say in their score.")] = (
        ""
    )
    fields: Annotated[
        bool | tuple[str, ...],
        doc("Fields wanted in each hit: a list of names, true (all), false (none)."),
    ] = True
    minimum_coverage: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Least share of the documents that the answer must reflect, 0 to 1.",
        ),
    ] = 0.0
    wait_for: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Share of the documents that is enough: once it is covered, the rest is "
            "waited for only a part of the time left.",
        ),
    ] = 1.0
    explain: Annotated[bool, doc("Whether every shard is detailed, or only those not ok.")] = False
    syntax: Annotated[
        Literal["lenient", "strict"], doc("Whether an error in the query is repaired, or refused.")
    ] = "lenient"
    priority: Annotated[
        Literal["interactive", "batch"],
        doc("batch is refused first when there is too much to do."),
    ] = "interactive"
