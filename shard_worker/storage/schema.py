"""Makes tantivy's schema, analyser, documents and new indexes from a collection's definition."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tantivy

from hedgerow.common.collection import TEXTS, Collection
from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.fields.field_types import (
    TEXTUAL_TYPES,
    FieldType,
    mismatch,
    parse_date,
    texts_of,
)
from hedgerow.common.query.analysers import is_folded_first, make_analyser
from hedgerow.common.query.tokens import of_document, whole_text
from hedgerow.common.query.whole_texts import whole_mark

# Names of internal fields begin with "_", unlike those of declared fields.
ALL_TEXT = "_text"  # the texts of all fields, by weight, for queries that name no field
# EVERY and ORDERED_LISTS, or PADDING; names of its text fields; marks of `id_levels` and of whole
# texts.
PRESENT = "_present"
PLACE = "_place"  # the document's place in `bodies`, if it has one
EVERY = "*"
PADDING = "+"
ORDERED_LISTS = "="

ANALYSER = "hedgerow"
# Ids are read from blocks, and a block is decompressed as a whole. tantivy's default of 16 KB is
# meant for documents that are stored in full. With it, reading an id takes 0.8 µs while a segment
# has no more blocks than tantivy caches (100, or 50,000 documents), and 4 µs beyond. With blocks of
# 512 bytes it takes 1.2 µs for any size, with 1024 bytes 1.4 µs and with 2048 bytes 1.7 µs; a
# million documents then take 4, 3 and 2 MB more on disk.
BLOCK_BYTES = 512
_BLOCK_SETTING = "docstore_blocksize"


def searched_field(collection: Collection) -> str | None:
    """The field that a query without a field name searches; None if no text field is searched."""
    texts = collection.searched_fields
    if len(texts) > 1:
        return ALL_TEXT
    # With a single searched field, a joined field would be a second copy of it.
    return texts[0] if texts else None


def text_fields(collection: Collection) -> tuple[str, ...]:
    """Every analysed field of the index."""
    has_all_text = searched_field(collection) == ALL_TEXT
    return (*collection.text_fields, ALL_TEXT) if has_all_text else collection.text_fields


def make_schema(collection: Collection) -> tantivy.Schema:
    """The schema of a collection's text indexes."""
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(
        ID_FIELD, stored=True, fast=True, tokenizer_name="raw", index_option="basic"
    )
    builder.add_text_field(PRESENT, tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field(PLACE, stored=False, indexed=False, fast=True)
    if searched_field(collection) == ALL_TEXT:
        builder.add_text_field(ALL_TEXT, tokenizer_name=ANALYSER)
    for name, kind in (collection.fields or {}).items():
        match kind:
            case FieldType.TEXT:
                builder.add_text_field(name, tokenizer_name=ANALYSER)
            case FieldType.KEYWORD:
                builder.add_text_field(name, fast=True, tokenizer_name="raw", index_option="basic")
            case FieldType.INTEGER:
                builder.add_integer_field(name, indexed=True, fast=True)
            case FieldType.FLOAT:
                builder.add_float_field(name, indexed=True, fast=True)
            case FieldType.BOOLEAN:
                builder.add_boolean_field(name, indexed=True, fast=True)
            case FieldType.DATE:
                builder.add_date_field(name, indexed=True, fast=True)
    return builder.build()


def make_index(folder: Path, collection: Collection) -> tantivy.Index:
    """Make a new index of a collection, in an existing, empty folder."""
    tantivy.Index(make_schema(collection), path=str(folder))
    # tantivy's Python interface gives no access to the settings, which an index keeps for good.
    meta = folder / "meta.json"
    content = json.loads(meta.read_bytes())
    if _BLOCK_SETTING in content.get("index_settings", {}):
        content["index_settings"][_BLOCK_SETTING] = BLOCK_BYTES
        meta.write_text(json.dumps(content))
    index = tantivy.Index.open(str(folder))
    index.register_tokenizer(ANALYSER, make_analyser(*collection.word_analysis))
    return index


def make_document(
    collection: Collection,
    document_id: str,
    fields: Mapping[str, Any],
    marks: Iterable[str] = (),
    place: int | None = None,
) -> tantivy.Document:
    """Make a document as tantivy indexes it.

    Args:
        collection: its definition.
        document_id: the document's id.
        fields: the document's fields; a value that does not fit its field's type is left out.
        marks: the document's marks (`id_levels`).
        place: the document's place, from `bodies.BodyWriter`; None if it has none.
    """
    document = tantivy.Document()
    document.add_text(ID_FIELD, document_id)
    if place is not None:
        document.add_unsigned(PLACE, place)
    document.add_text(PRESENT, EVERY)
    document.add_text(PRESENT, ORDERED_LISTS)  # documents of earlier versions lack it
    for mark in marks:
        document.add_text(PRESENT, mark)
    whole: set[str] = set()
    for name, kind in (collection.fields or {}).items():
        value = fields.get(name)
        if value is None:
            continue
        # A value that does not fit is left out: the gateway has said so, or the field is newer than
        # the document.
        if kind not in TEXTUAL_TYPES:
            _add_value(document, name, kind, value)
        elif type(value) is str or not mismatch(kind, value):
            texts = _texts(kind, value)
            if kind is FieldType.TEXT:
                whole |= _add_text(document, collection, name, texts)
            else:
                for text in texts:
                    document.add_text(name, text)
    for text in whole:
        document.add_text(PRESENT, whole_mark(text))
    return document


def _texts(kind: FieldType, value: Any) -> list[str]:
    texts = texts_of(value)
    if kind is FieldType.KEYWORD and len(texts) > 1:
        # A list is sorted by its first value, and counts once for each of its values.
        return sorted(set(texts))
    return texts


def _add_text(
    document: tantivy.Document, collection: Collection, name: str, texts: Sequence[str]
) -> set[str]:
    """Add the texts of a text field; returns those that are marked as a whole."""
    whole: set[str] = set()
    if collection.texts >= TEXTS:
        if collection.weight_of(name):
            whole = {one for text in texts if (one := whole_text(text))}
        is_folded = is_folded_first(collection.word_analysis)
        texts = [of_document(text, is_folded=is_folded) for text in texts]
    for text in texts:
        document.add_text(name, text)
    document.add_text(PRESENT, name)
    if searched_field(collection) == ALL_TEXT:
        # The simple form of BM25F (Robertson, Zaragoza and Taylor, 2004): a field of weight 3
        # counts as if its text occurred three times, both in term frequency and in length.
        for text in (*texts,) * collection.weight_of(name):
            document.add_text(ALL_TEXT, text)
    return whole


def _add_value(document: tantivy.Document, name: str, kind: FieldType, value: Any) -> None:
    if kind is FieldType.DATE:
        instant = parse_date(value) if type(value) is str else None
        if instant is not None:
            document.add_date(name, instant)
        return
    if mismatch(kind, value):
        return
    match kind:
        case FieldType.INTEGER:
            document.add_integer(name, value)
        case FieldType.FLOAT:
            document.add_float(name, float(value))
        case FieldType.BOOLEAN:
            document.add_boolean(name, value)
