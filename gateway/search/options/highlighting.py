"""Highlights: checks what a search asks for, and says what the shards are to mark."""

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_definitions import MAX_FIELDS
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.wire.search_options import Highlighting, SearchOptions, WantedHighlights
from hedgerow.gateway.search.options.facets import type_of
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.shapes.highlighting import Highlight

_DEFAULT = Highlight()


def check_highlight(
    asked: bool | tuple[str, ...] | Highlight, collection: Collection, limits: QuerySettings
) -> WantedHighlights | None:
    """Check what is to be highlighted; None for nothing.

    Raises:
        BadRequestError: names the member and the reason.
    """
    if not asked:
        return None
    how = asked if isinstance(asked, Highlight) else _DEFAULT
    fields = how.fields
    if isinstance(asked, tuple):
        fields = asked
    for name, given, limit in (
        ("snippets", how.snippets, limits.max_snippets),
        ("snippet_chars", how.snippet_chars, limits.max_snippet_chars),
    ):
        if given > limit:
            raise BadRequestError(
                f"highlight.{name}", f"is {given}; the limit is {limit} (query.max_{name})"
            )
    return WantedHighlights(
        _fields(fields, collection),
        how.snippets,
        how.snippet_chars,
        limits.max_highlight_chars,
        how.pre,
        how.post,
    )


def _fields(names: tuple[str, ...] | None, collection: Collection) -> tuple[str, ...]:
    if names is None:
        return collection.text_fields
    if len(names) > MAX_FIELDS:
        raise BadRequestError("highlight", f"names {len(names)} fields; {MAX_FIELDS} is the limit")
    for name in names:
        kind = type_of(name, collection, "highlight")
        if kind is not FieldType.TEXT and collection.fields is not None:
            raise BadRequestError(
                "highlight", f"names {name}, which is of type {kind}; texts are highlighted"
            )
    return tuple(dict.fromkeys(names))


def highlighting_of(
    query: SearchQuery, options: SearchOptions | None, wanted: WantedHighlights | None
) -> Highlighting | None:
    """What the shards are to mark in the documents of a search; None for nothing.

    Args:
        query: the search.
        options: what the shards were asked for.
        wanted: the highlights.
    """
    if wanted is None:
        return None
    if options is not None:  # what says how the words of the query are read
        options = SearchOptions(
            typos=options.typos,
            prefix=options.prefix,
            like=options.like,
            synonyms=options.synonyms,
        )
        options = options if options.used else None
    return Highlighting(query.query, query.syntax == "strict", options, wanted)
