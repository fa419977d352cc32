"""Makes words of texts: the analysers of documents and of queries, which must be the same.

`common.query.tokens` does what tantivy's analysers leave to be done.
"""

from functools import lru_cache

import tantivy

from hedgerow.common.collection import PLAIN_TEXTS, TEXTS
from hedgerow.common.query.tokens import of_query

MAX_TOKEN_BYTES = 255  # longer tokens are dropped (Lucene's StandardAnalyzer has the same limit)
# Only short texts are cached: the words of one of 4,096 characters take 180 KB.
_CACHED_TEXTS = 4096
_CACHED_TEXT_CHARS = 64


def make_analyser(
    language: str, texts: int = PLAIN_TEXTS, folding: bool = False
) -> tantivy.TextAnalyzer:
    """Make the analyser for texts and for queries on them, from `Collection.word_analysis`.

    Words are runs of letters and digits. They are lowercased; then stop words of the language are
    dropped and the other words stemmed by Snowball, unless the language is "none". With `folding`,
    letters lose their accents: in English before all else (`is_folded_first`), in other languages
    last, since their stop words and endings have accents themselves.

    Args:
        language: of stop words and stemming.
        texts: as `Collection.texts`; `of_document` and `of_query` do what is left.
        folding: whether to fold accents.
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
    if folding and texts >= TEXTS and not is_folded_first((language, texts, folding)):
        builder = builder.filter(tantivy.Filter.ascii_fold())
    return builder.build()


def is_folded_first(analysis: tuple[str, int, bool]) -> bool:
    """Whether a text is folded before it is analysed, by its `Collection.word_analysis`."""
    language, _, folding = analysis
    return folding and language in ("english", "none")


@lru_cache(maxsize=64)
def analyser_of(analysis: tuple[str, int, bool]) -> tantivy.TextAnalyzer:
    """The analyser for a `Collection.word_analysis`, made once per process."""
    return make_analyser(*analysis)


def tokens_of(analysis: tuple[str, int, bool], text: str) -> tuple[tuple[int, str], ...]:
    """The position and the word of each token that an analysis makes of a query's text.

    Args:
        analysis: the collection's `word_analysis`.
        text: the text.
    """
    if len(text) > _CACHED_TEXT_CHARS:
        return _tokens_of(analysis, text)
    return _cached_tokens_of(analysis, text)


def _tokens_of(analysis: tuple[str, int, bool], text: str) -> tuple[tuple[int, str], ...]:
    if analysis[1] >= TEXTS:
        text = of_query(text, is_folded=is_folded_first(analysis))
    tokens = analyser_of(analysis).pre_tokenize(text).tokens
    return tuple((token.position, token.text) for token in tokens)


_cached_tokens_of = lru_cache(maxsize=_CACHED_TEXTS)(_tokens_of)
