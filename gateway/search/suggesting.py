"""Suggestions while a query is typed: a search for texts of a field that have the typed words.

All words have to be there, in any order; the last one may be unfinished, and longer ones may be
misspelt (`common.query.as_typed`).
"""

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_definitions import FIELD_NAME
from hedgerow.common.fields.nearest_name import suggestion
from hedgerow.common.query.tokens import words_of
from hedgerow.gateway.access.caller import Caller
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.shapes.suggest import SuggestAnswer, Suggestion

MAX_SUGGESTIONS = 100
MAX_WORDS = 16
MAX_FIELD_CHARS = 100  # of a field's name
MAX_PREFIX_CHARS = 500  # it is sent in a request's head, as up to 12 bytes a character
SPARE = 2  # times as many hits as suggestions are wanted, since texts may repeat


def suggesting_query(
    collection: str,
    field: str,
    prefix: str,
    *,
    k: int,
    deadline_ms: float,
    caller: Caller,
    peer: str,
    traceparent: str,
) -> SearchQuery:
    """The search for what was typed, whose `k` should be some times the suggestions wanted.

    Raises:
        BadRequestError: nothing was typed that is a word, or too many words, or the field cannot
            have the name.
    """
    if not FIELD_NAME.match(field):  # part of the query
        raise BadRequestError("field", "is not the name of a field")
    words = words_of(prefix)
    if not words:
        raise BadRequestError("prefix", "has no letter or digit")
    if len(words) > MAX_WORDS:
        raise BadRequestError("prefix", f"has {len(words)} words; {MAX_WORDS} is the limit")
    # In lower case, no word is an operator.
    required = " ".join(f"+{word.lower()}" for word in words)
    return SearchQuery(
        collection=collection,
        query=f"{field}:({required})",
        k=k,
        deadline_ms=deadline_ms,
        rank_profile="bm25",
        fields=(field,),
        syntax="strict",
        typos="auto",
        prefix=True,
        synonyms=False,
        caller=caller,
        peer=peer,
        traceparent=traceparent,
    )


def check_field(field: str, collection: Collection) -> None:
    """Refuse a field without texts, in which nothing would ever be found.

    A collection without fields gets them from its first documents.

    Raises:
        BadRequestError: it is not a text field of the collection.
    """
    texts = tuple(collection.text_fields)
    if collection.fields is not None and field not in texts:
        nearest = suggestion(field, texts)
        raise BadRequestError("field", f"{field!r} is not a text field of the collection{nearest}")


def suggestions_of(result: SearchResult, field: str, size: int) -> SuggestAnswer:
    """The different texts among the hits, the best first."""
    found: dict[str, Suggestion] = {}
    for hit in result.hits:
        text = (hit.fields or {}).get(field)
        if isinstance(text, str):
            found.setdefault(text.casefold(), Suggestion(text, hit.id, hit.score))
    answer = result.answer()
    return SuggestAnswer(
        list(found.values())[:size], answer.coverage, answer.took_ms, answer.deadline_ms
    )
