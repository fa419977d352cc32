"""Makes tantivy's schema, analysers and new indexes from a collection's definition."""

import json
from operator import attrgetter
from pathlib import Path

import tantivy

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.fields.word_analysis import TEXTS, WordAnalysis
from hedgerow.common.query.analysers import make_analyser
from hedgerow.common.query.searched import searched
from hedgerow.common.query.tokens import ngrams_of_document, of_document
from hedgerow.shard_worker.storage.places import SPREAD_PLACE

# Names of internal fields begin with "_", unlike those of declared fields.
# EVERY and ORDERED_LISTS, or PADDING; names of its text fields; marks of `id_levels`, of whole
# texts, and of the files that its vectors are in (`vectors.files`).
PRESENT = "_present"
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


def register_analysers(index: tantivy.Index, collection: Collection) -> None:
    """Give an index the analysers of a collection."""
    for analysis in {collection.word_analysis, *collection.analyses.values()}:
        index.register_tokenizer(_analyser_name(collection, analysis), make_analyser(analysis))


def _analyser_name(collection: Collection, analysis: WordAnalysis) -> str:
    return ANALYSER if analysis == collection.word_analysis else f"{ANALYSER}_{analysis.suffix}"


def prepared(text: str, analysis: WordAnalysis) -> str:
    """A document's text as its analyser gets it."""
    if analysis.ngrams:
        return ngrams_of_document(text, analysis.ngrams, is_folded=analysis.is_folded_first)
    if analysis.texts >= TEXTS:
        return of_document(text, is_folded=analysis.is_folded_first)
    return text


def make_schema(collection: Collection) -> tantivy.Schema:
    """The schema of a collection's text indexes."""
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(
        ID_FIELD, stored=True, fast=True, tokenizer_name="raw", index_option="basic"
    )
    builder.add_text_field(PRESENT, tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field(SPREAD_PLACE, stored=False, indexed=False, fast=True)
    for one in filter(attrgetter("is_joined"), searched(collection)):
        builder.add_text_field(one.name, tokenizer_name=_analyser_name(collection, one.analysis))
    for name, kind in (collection.fields or {}).items():
        match kind:
            case FieldType.TEXT:
                analyser = _analyser_name(collection, collection.analysis_of(name))
                builder.add_text_field(name, tokenizer_name=analyser)
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
            case FieldType.VECTOR:  # its row (`vectors.files`)
                builder.add_unsigned_field(name, indexed=True, fast=True)
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
    register_analysers(index, collection)
    return index
