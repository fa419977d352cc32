"""From a collection's definition to tantivy's schema, analysis, documents and new index."""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import tantivy

from hedgerow.common.collection import Collection, FieldType, parse_date
from hedgerow.common.document_ids import ID_FIELD

# Internal fields start with "_", which no declared field does.
ALL_TEXT = "_text"  # every text field's text, by weight: what a query without a field name searches
PRESENT = "_present"  # EVERY or BALLAST for each document; its text fields' names; `id_levels`
PLACE = "_place"  # where the document is in `bodies`, if it is there
EVERY = "*"
BALLAST = "+"

ANALYSER = "hedgerow"
# Ids are read from blocks, each of which is decompressed as a whole. tantivy's are of 16 KB, meant
# for documents that are stored in full; an id takes 4 µs where a segment has more of them than the
# hundred that tantivy keeps (50,000 documents), else 0.8. From blocks of 512 it takes 1.2 µs, of
# 1024 1.4 and of 2048 1.7, whatever the size; they take 4, 3 and 2 MB more of disk for a million.
BLOCK_BYTES = 512
_BLOCK_SETTING = "docstore_blocksize"

MAX_TOKEN_BYTES = 255  # longer ones are no words (Lucene's StandardAnalyzer has the same limit)


def make_analyser(language: str) -> tantivy.TextAnalyzer:
    """The analysis of texts and of queries on them.

    Words are runs of letters and digits; they are lowercased, the language's stop words dropped and
    the rest stemmed by Snowball, except for the language "none".
    """
    builder = (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(MAX_TOKEN_BYTES))
        .filter(tantivy.Filter.lowercase())
    )
    if language != "none":
        builder = builder.filter(tantivy.Filter.stopword(language)).filter(
            tantivy.Filter.stemmer(language)
        )
    return builder.build()


@lru_cache(maxsize=64)
def analyser_of(language: str) -> tantivy.TextAnalyzer:
    """The analyser of a language, made once in a process."""
    return make_analyser(language)


def searched_field(collection: Collection) -> str | None:
    """The field that a query without a field name searches; None when there is no text."""
    texts = collection.searched_fields
    if len(texts) > 1:
        return ALL_TEXT
    # A second copy of the only field that is searched would double the index for nothing.
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
    """A new index of a collection, in a folder that is there and empty."""
    tantivy.Index(make_schema(collection), path=str(folder))
    # tantivy's Python interface has no other way to the settings, which an index keeps for good.
    meta = folder / "meta.json"
    content = json.loads(meta.read_bytes())
    if _BLOCK_SETTING in content.get("index_settings", {}):
        content["index_settings"][_BLOCK_SETTING] = BLOCK_BYTES
        meta.write_text(json.dumps(content))
    index = tantivy.Index.open(str(folder))
    index.register_tokenizer(ANALYSER, make_analyser(collection.language))
    return index


def make_document(
    collection: Collection,
    document_id: str,
    fields: Mapping[str, Any],
    marks: Iterable[str] = (),
    place: int | None = None,
) -> tantivy.Document:
    """A document as tantivy indexes it.

    Args:
        collection: its definition.
        document_id: the document's id.
        fields: the document's fields, which have passed `check_document`.
        marks: the document's, of `id_levels`.
        place: the document's, as `bodies.BodyWriter` gives it; None if it has none.
    """
    document = tantivy.Document()
    document.add_text(ID_FIELD, document_id)
    if place is not None:
        document.add_unsigned(PLACE, place)
    document.add_text(PRESENT, EVERY)
    for mark in marks:
        document.add_text(PRESENT, mark)
    has_all_text = searched_field(collection) == ALL_TEXT
    for name, kind in (collection.fields or {}).items():
        value = fields.get(name)
        if value is None:
            continue
        if kind in (FieldType.TEXT, FieldType.KEYWORD):
            texts = value if isinstance(value, list) else (value,)
            for text in texts:
                document.add_text(name, text)
            if kind is FieldType.TEXT:
                document.add_text(PRESENT, name)
                # BM25F's simple form (Robertson, Zaragoza and Taylor, 2004): a field of weight 3
                # counts as if its text were there three times, in its words and in the length.
                for text in (*texts,) * collection.weight_of(name) if has_all_text else ():
                    document.add_text(ALL_TEXT, text)
        else:
            _add_value(document, name, kind, value)
    return document


def _add_value(document: tantivy.Document, name: str, kind: FieldType, value: Any) -> None:
    match kind:
        case FieldType.INTEGER:
            document.add_integer(name, value)
        case FieldType.FLOAT:
            document.add_float(name, float(value))
        case FieldType.BOOLEAN:
            document.add_boolean(name, value)
        case FieldType.DATE:
            instant = parse_date(value)
            if instant is not None:
                document.add_date(name, instant)
