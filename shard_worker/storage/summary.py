"""Summarises a shard's index of a collection (`common.query.shard_summary`)."""

from typing import Final

import tantivy

from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.fields.word_analysis import TEXTS
from hedgerow.common.query.shard_summary import (
    LEAST_BITS_PER_WORD,
    MARKS,
    ShardSummary,
    summarise,
)
from hedgerow.common.query.whole_texts import WHOLE
from hedgerow.shard_worker.storage.length_padding import is_padding
from hedgerow.shard_worker.storage.schema import EVERY, PRESENT
from hedgerow.shard_worker.storage.text_index import TextIndex

_WORDS: Final = (FieldType.TEXT, FieldType.KEYWORD)
_NUMBERS: Final = (FieldType.INTEGER, FieldType.FLOAT, FieldType.DATE)
_NS: Final = 1e9


def summary_of(index: TextIndex, max_bytes: int) -> ShardSummary:
    """Summarise what an index holds, deleted documents included until a merge drops them."""
    fields = index.collection.fields or {}
    found = {
        name: _terms(index, name, "", max_bytes) for name, kind in fields.items() if kind in _WORDS
    }
    if index.collection.texts >= TEXTS:
        found[MARKS] = _terms(index, PRESENT, WHOLE, max_bytes)
    words = {
        name: [term for term in terms if not is_padding(term)]
        if fields.get(name) is FieldType.TEXT
        else terms
        for name, terms in found.items()
        if terms is not None
    }
    return summarise(index.num_documents, words, _ranges(index), max_bytes)


def _terms(index: TextIndex, name: str, prefix: str, max_bytes: int) -> list[str] | None:
    """The terms of a field; None if there is no room for all of them."""
    most = max_bytes * 8 // LEAST_BITS_PER_WORD
    terms = index.searcher.terms_with_prefix(name, prefix, None, most + 1)
    return [term for term, _ in terms] if len(terms) <= most else None


def _ranges(index: TextIndex) -> dict[str, tuple[float, float] | None]:
    """The smallest and largest value of each field of numbers or dates."""
    fields = index.collection.fields or {}
    kinds = {name: kind for name, kind in fields.items() if kind in _NUMBERS}
    if not kinds:
        return {}
    every = tantivy.Query.term_query(index.schema, PRESENT, EVERY, "basic")
    found = index.searcher.aggregate(
        every, {str(at): {"stats": {"field": name}} for at, name in enumerate(kinds)}
    )
    ranges: dict[str, tuple[float, float] | None] = {}
    for at, (name, kind) in enumerate(kinds.items()):
        least, most = found[str(at)]["min"], found[str(at)]["max"]
        unit = _NS if kind is FieldType.DATE else 1.0
        ranges[name] = None if least is None or most is None else (least / unit, most / unit)
    return ranges
