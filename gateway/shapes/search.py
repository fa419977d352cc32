"""The body of a search."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hedgerow.gateway.shapes.doc import doc
from hedgerow.gateway.shapes.facets import Choice, Facet
from hedgerow.gateway.shapes.highlighting import Highlight
from hedgerow.gateway.shapes.hybrid import Hybrid
from hedgerow.gateway.shapes.more_like import MoreLike
from hedgerow.gateway.shapes.sorting import SortKey
from hedgerow.gateway.shapes.vector import VectorQuery


class Search(msgspec.Struct, frozen=True, gc=False):
    """A search of a collection, with the limits and defaults that are the same in every gateway."""

    collection: str
    query: Annotated[
        str,
        doc(
            "The query: words, phrases, fields, ranges; see docs/ranking.md. Left out for a search "
            "by `vector` or `more_like`."
        ),
    ] = ""
    k: Annotated[int, Meta(ge=1, description="Maximum number of hits.")] = 10
    deadline_ms: Annotated[
        float, Meta(gt=0, description="Time within which the answer leaves the gateway, in ms.")
    ] = 300.0
    rank_profile: Annotated[
        str | None, doc("Name of a configured rank profile; the collection's own if null.")
    ] = None
    filter: Annotated[
        str, doc("Query that hits must match too, without effect on their score.")
    ] = ""
    fields: Annotated[
        bool | tuple[str, ...],
        doc("Fields to return for each hit: a list of names, true (all), false (none)."),
    ] = True
    minimum_coverage: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Smallest share of the documents that the answer must reflect, 0 to 1.",
        ),
    ] = 0.0
    wait_for: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Share of the documents that suffices: once it is covered, the gateway "
            "waits for the rest only during a part of the remaining time.",
        ),
    ] = 1.0
    explain: Annotated[bool, doc("Whether to detail every shard, or only those not ok.")] = False
    syntax: Annotated[
        Literal["lenient", "strict"],
        doc("Whether to repair an error in the query, or to refuse it."),
    ] = "lenient"
    priority: Annotated[
        Literal["interactive", "batch"],
        doc("Under overload, batch queries are refused first."),
    ] = "interactive"
    facets: Annotated[
        dict[str, Facet],
        doc("Counts of all matches by fields: a field's name to what is counted."),
    ] = {}
    sort: Annotated[
        tuple[SortKey, ...],
        doc(
            'The order of the hits: fields with "asc" or "desc", or with `order` and `missing`; '
            '"_score" can be the last. By score if it is empty.'
        ),
    ] = ()
    search_after: Annotated[
        str | None,
        doc('The cursor of the page before; "" for the first page, to get a cursor for the next.'),
    ] = None
    offset: Annotated[int, Meta(ge=0, description="Hits to leave out at the beginning.")] = 0
    group_by: Annotated[
        str, doc("A keyword field: return only the best hit of each of its values.")
    ] = ""
    typos: Annotated[
        Literal["off", "auto"],
        doc(
            "Whether words may be misspelt: with auto, by one edit from 5 letters on, by two from "
            "9."
        ),
    ] = "off"
    prefix: Annotated[
        bool, doc("Whether the query's last word may be the beginning of another.")
    ] = False
    vector: Annotated[
        VectorQuery | None,
        doc("Find the documents whose vectors are nearest to this one; see docs/vectors.md."),
    ] = None
    hybrid: Annotated[
        Hybrid | None,
        doc("Rank by `query` and by `vector`, and fuse both rankings; see docs/hybrid.md."),
    ] = None
    synonyms: Annotated[
        bool, doc("Whether the collection's synonyms of the query's words are found, too.")
    ] = True
    highlight: Annotated[
        bool | tuple[str, ...] | Highlight,
        doc(
            "Whether hits show what matched in their texts: true (all text fields), a list of "
            "fields, or how to show it."
        ),
    ] = False
    more_like: Annotated[
        MoreLike | None,
        doc("Search for the most telling words of a document, instead of a query."),
    ] = None
    did_you_mean: Annotated[
        bool,
        doc("Whether to suggest a query with misspelt words corrected, if that finds more."),
    ] = False
    refine: Annotated[
        dict[str, tuple[Choice, ...]],
        doc(
            "Values that were chosen, by field: hits have one of each field's, and a facet leaves "
            "out the choice of its own field. Ranges have `from` and `to`, as those of facets."
        ),
    ] = {}
