"""More like a document: checks what is asked for, and says which words are wanted."""

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import MAX_ID_BYTES, check_address_id
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_definitions import MAX_FIELDS
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.wire.search_options import LIKE_LEVEL, WantedTerms
from hedgerow.gateway.search.options.facets import type_of
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.shapes.more_like import MoreLike

_MEMBER = "more_like"


def check_more_like(
    query: SearchQuery,
    asked: MoreLike,
    collection: Collection,
    limits: QuerySettings,
    level: int,
) -> WantedTerms:
    """Check a search for documents like another.

    Args:
        query: the search.
        asked: its `more_like`.
        collection: what is searched.
        limits: what a search may ask for.
        level: what every live worker knows (`Heartbeat.search_options`).

    Raises:
        BadRequestError: names the member and the reason.
    """
    if query.query.strip():
        raise BadRequestError(_MEMBER, "does not apply with a query; restrict it by a filter")
    of_typed_words = {
        "typos": query.typos != "off",
        "prefix": query.prefix,
        "did_you_mean": query.did_you_mean,
    }
    for name, is_given in of_typed_words.items():
        if is_given:
            raise BadRequestError(name, f"does not apply with {_MEMBER}, whose words are not typed")
    if level < LIKE_LEVEL:
        raise BadRequestError(
            _MEMBER, "is not known to every live worker: upgrade the workers first, then use it"
        )
    try:
        check_address_id(asked.id, MAX_ID_BYTES)
    except BadRequestError as error:
        raise BadRequestError(f"{_MEMBER}.id", error.reason) from None
    if asked.max_terms > limits.max_like_terms:
        raise BadRequestError(
            f"{_MEMBER}.max_terms",
            f"is {asked.max_terms}; the limit is {limits.max_like_terms} (query.max_like_terms)",
        )
    return WantedTerms(
        _fields(asked.fields, collection), asked.max_terms, limits.max_highlight_chars
    )


def _fields(names: tuple[str, ...] | None, collection: Collection) -> tuple[str, ...]:
    if names is None:
        return ()
    where = f"{_MEMBER}.fields"
    if not names or len(names) > MAX_FIELDS:
        raise BadRequestError(where, f"names {len(names)} fields; from 1 to {MAX_FIELDS} may be")
    for name in names:
        kind = type_of(name, collection, where)
        if kind is not FieldType.TEXT and collection.fields is not None:
            raise BadRequestError(
                where, f"names {name}, which is of type {kind}; texts are compared"
            )
        if collection.analysis_of(name).ngrams:
            raise BadRequestError(
                where, f"names {name}, which has parts of words; words are compared"
            )
    return tuple(dict.fromkeys(names))
