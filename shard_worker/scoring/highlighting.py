"""Highlights: what of a query matches in a stored document, as snippets of HTML.

A query is read as by a scorer (`query_analysis`), and a text is split as for the index
(`text_tokens`), so what is marked is what was found. No pattern is made of a caller's words: the
time for a text grows with its length alone, which is bounded.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec

from hedgerow.common.collection import Collection
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.query.as_typed import AS_WRITTEN, Typing
from hedgerow.common.wire.search_options import Highlighting
from hedgerow.shard_worker.scoring.document_texts import texts_in
from hedgerow.shard_worker.scoring.matching import Mark, Matcher, words_for
from hedgerow.shard_worker.scoring.query_analysis import QueryAnalysis
from hedgerow.shard_worker.scoring.snippets import snippets_of

_CACHED_QUERIES: Final = 64  # each remembers what it has found of the last words
_NOTHING: Final = b"{}"
_encode = msgspec.json.Encoder().encode


class Highlighter:
    """Marks what matches in documents of one collection; any thread may use it."""

    def __init__(self, collection: Collection, highlighting: Highlighting) -> None:
        """Mark as `highlighting` wants it.

        Raises:
            BadRequestError: the query does not fit the collection.
        """
        options = highlighting.options
        typing = AS_WRITTEN if options is None else Typing(options.typos, options.prefix)
        synonyms = () if options is None else options.synonyms
        tree = QueryAnalysis(collection).read(
            highlighting.query, highlighting.strict, typing, synonyms
        )
        wanted = self._wanted = highlighting.wanted
        self._matchers: dict[str, Matcher] = {}
        for name in wanted.fields:
            if collection.type_of(name) is FieldType.TEXT:
                like = None if options is None else options.like
                words = words_for(tree, collection, name, () if like is None else like.terms)
                if not words.is_empty:
                    self._matchers[name] = Matcher(words, collection.analysis_of(name))
        self._names = tuple(self._matchers)

    @classmethod
    def of(cls, definition: str, highlighting: Highlighting) -> "Highlighter":
        """One for a collection's definition, as JSON; the last ones are remembered.

        Raises:
            BadRequestError: the query does not fit the collection.
            WireError: the definition is a newer version's.
        """
        return _made(definition, highlighting)

    def highlights(self, body: bytes, is_late: Callable[[], bool]) -> bytes | None:
        """The highlights of a document, as JSON: field → snippets, for the fields with a match.

        Args:
            body: the document, as JSON.
            is_late: whether there is no time left.

        Returns:
            None if there was no time.
        """
        if not self._matchers:
            return _NOTHING
        found: dict[str, list[str]] = {}
        for name, texts in texts_in(body, self._names).items():
            if is_late():
                return None
            marks = self._marks(self._matchers[name], texts, is_late)
            if any(marks):
                found[name] = snippets_of(texts, marks, self._wanted)
        if is_late():
            return None
        return _encode(found) if found else _NOTHING

    def _marks(
        self, matcher: Matcher, texts: list[str], is_late: Callable[[], bool]
    ) -> list[list[Mark]]:
        left, marks = self._wanted.max_chars, []
        for text in texts:
            found = matcher.find(text[:left], is_late) if left > 0 else []
            if len(text) > left:  # the last word may go on
                found = [mark for mark in found if mark.end < left]
            marks.append(found)
            left -= len(text)
        return marks


@lru_cache(maxsize=_CACHED_QUERIES)
def _made(definition: str, highlighting: Highlighting) -> Highlighter:
    return Highlighter(Collection.from_json(definition), highlighting)
