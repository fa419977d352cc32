"""Makes documents as tantivy indexes them."""

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import msgspec
import tantivy

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.fields.field_types import (
    TEXTUAL_TYPES,
    FieldType,
    mismatch,
    parse_date,
    texts_of,
)
from hedgerow.common.fields.word_analysis import TEXTS, WordAnalysis
from hedgerow.common.query.searched import searched
from hedgerow.common.query.tokens import MAX_WHOLE_CHARS, whole_text
from hedgerow.common.query.whole_texts import whole_mark
from hedgerow.shard_worker.storage.schema import (
    EVERY,
    ORDERED_LISTS,
    PRESENT,
    prepared,
)

_decode = msgspec.json.Decoder().decode


def decoded(body: bytes) -> Any:
    """A document from its stored JSON.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return _decode(body)  # a fifth of the time of the other
    except msgspec.MsgspecError:  # that takes half of a surrogate pair, for example, and 1e999
        return json.loads(body)


class _TextField(NamedTuple):
    """How the texts of a field are indexed.

    Attributes:
        analysis: how they become words.
        has_whole: whether short ones are marked as a whole.
        joined: the joined field that has them too; "" for none.
        times: how often it has them.
        is_ascii_ready: whether texts of ASCII alone are indexed as they are.
    """

    analysis: WordAnalysis
    has_whole: bool
    joined: str
    times: int
    is_ascii_ready: bool


class DocumentPlan(NamedTuple):
    """How the documents of a collection are indexed, found out once for all of them.

    Attributes:
        fields: the declared fields.
        texts: those of them that are analysed.
    """

    fields: tuple[tuple[str, FieldType], ...]
    texts: Mapping[str, _TextField]

    @classmethod
    def of(cls, collection: Collection) -> Self:
        """Plan for a definition."""
        joined = {
            name: one.name for one in searched(collection) if one.is_joined for name in one.fields
        }
        texts = {}
        for name in collection.text_fields:
            weight = collection.weight_of(name)
            has_whole = collection.texts >= TEXTS and weight > 0
            analysis, into = collection.analysis_of(name), joined.get(name, "")
            is_ascii_ready = not analysis.ngrams
            texts[name] = _TextField(analysis, has_whole, into, weight, is_ascii_ready)
        return cls(tuple((collection.fields or {}).items()), texts)


def make_document(
    plan: DocumentPlan,
    document_id: str,
    fields: Mapping[str, Any],
    marks: Iterable[str] = (),
    place: tuple[str, int] | None = None,
    rows: Mapping[str, int] = MappingProxyType({}),
) -> tantivy.Document:
    """Make a document as tantivy indexes it.

    Args:
        plan: of its collection.
        document_id: the document's id.
        fields: the document's fields; a value that does not fit its field's type is left out.
        marks: the document's marks (`id_levels`, `vectors.files`).
        place: the field and the number of the document's place (`places`); None if it has none.
        rows: vector field → the row of the document's vector, from `vectors.files.RowWriter`.
    """
    document = tantivy.Document()
    document.add_text(ID_FIELD, document_id)
    if place is not None:
        document.add_unsigned(*place)
    document.add_text(PRESENT, EVERY)
    document.add_text(PRESENT, ORDERED_LISTS)  # documents of earlier versions lack it
    for mark in marks:
        document.add_text(PRESENT, mark)
    for name, row in rows.items():
        document.add_unsigned(name, row)
    for text in _add_fields(document, plan, fields):
        document.add_text(PRESENT, whole_mark(text))
    return document


def _add_fields(
    document: tantivy.Document, plan: DocumentPlan, fields: Mapping[str, Any]
) -> set[str]:
    """Add the values of fields; returns the texts that are marked as a whole."""
    whole: set[str] = set()
    for name, kind in plan.fields:
        value = fields.get(name)
        if value is None:
            continue
        # A value that does not fit is left out: the gateway has said so, or the field is newer than
        # the document.
        if kind not in TEXTUAL_TYPES:
            _add_value(document, name, kind, value)
        elif type(value) is str or not mismatch(kind, value):
            texts = texts_of(value)
            if kind is FieldType.TEXT:
                _add_texts(document, name, plan.texts[name], texts, whole)
            else:
                for text in in_order(texts):
                    document.add_text(name, text)
    return whole


def in_order(keywords: list[str]) -> list[str]:
    """A list of keywords, which is sorted by its first value, and counts once for each value."""
    return sorted(set(keywords)) if len(keywords) > 1 else keywords


def _add_texts(
    document: tantivy.Document, name: str, field: _TextField, texts: list[str], whole: set[str]
) -> None:
    """Add the texts of a text field; adds to `whole` those that are marked as a whole."""
    analysis, has_whole, joined, times, is_ascii_ready = field
    add = document.add_text
    for text in texts:
        if has_whole and len(text) <= MAX_WHOLE_CHARS and (one := whole_text(text)):
            whole.add(one)
        words = text if is_ascii_ready and text.isascii() else prepared(text, analysis)
        add(name, words)
        if joined:
            # The simple form of BM25F (Robertson, Zaragoza and Taylor, 2004): a field of weight 3
            # counts as if its text occurred three times, both in term frequency and in length.
            for _ in range(times):
                add(joined, words)
    add(PRESENT, name)


def _add_value(document: tantivy.Document, name: str, kind: FieldType, value: Any) -> None:
    if kind is FieldType.DATE:
        instant = parse_date(value) if type(value) is str else None
        if instant is not None:
            # The index keeps seconds; tantivy would round a date before 1970 up to the next one.
            document.add_date(name, instant.replace(microsecond=0))
        return
    if mismatch(kind, value):
        return
    match kind:
        case FieldType.INTEGER:
            document.add_integer(name, value)
        case FieldType.FLOAT:
            document.add_float(name, float(value) + 0.0)  # 0.0 for -0.0, which is equal
        case FieldType.BOOLEAN:
            document.add_boolean(name, value)
