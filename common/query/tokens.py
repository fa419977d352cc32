"""Splits texts into words, as their analysis does (`shard_worker.storage.schema`)."""

import re
from collections.abc import Sequence

import tantivy

_ascii_words = re.compile(r"[0-9A-Za-z]+").findall
_split = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).build().analyze


def words_of(text: str) -> Sequence[str]:
    """The words of a text, as they are written."""
    words: Sequence[str] = _ascii_words(text) if text.isascii() else _split(text)
    return words
