"""Makes words of texts: the analysers of documents and of queries, which must be the same.

`common.query.tokens` does what tantivy's analysers leave to be done.
"""

from functools import lru_cache

import tantivy

from hedgerow.common.fields.word_analysis import TEXTS, WordAnalysis
from hedgerow.common.query.tokens import ngrams_of_query, of_query

MAX_TOKEN_BYTES = 255  # longer tokens are dropped (Lucene's StandardAnalyzer has the same limit)
# Only short texts are cached: the words of one of 4,096 characters take 180 KB.
_CACHED_TEXTS = 4096
_CACHED_TEXT_CHARS = 64


def make_analyser(analysis: WordAnalysis) -> tantivy.TextAnalyzer:
    """Make the analyser for texts and for queries on them.

    Words are runs of letters and digits. They are lowercased; then stop words of the language are
    dropped and the other words stemmed by Snowball, unless the language is "none". `prepared`, and
    what prepares queries, do the rest. In some languages, that includes the folding of accents
    (`WordAnalysis.is_folded_first`); in the others, words are folded last.
    """
    builder = (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(MAX_TOKEN_BYTES))
        .filter(tantivy.Filter.lowercase())
    )
    language = analysis.language
    if language != "none":
        builder = builder.filter(tantivy.Filter.stopword(language)).filter(
            tantivy.Filter.stemmer(language)
        )
    if analysis.folding and analysis.texts >= TEXTS and not analysis.is_folded_first:
        builder = builder.filter(tantivy.Filter.ascii_fold())
    return builder.build()


@lru_cache(maxsize=64)
def analyser_of(analysis: WordAnalysis) -> tantivy.TextAnalyzer:
    """The analyser for an analysis, made once per process."""
    return make_analyser(analysis)


def tokens_of(analysis: WordAnalysis, text: str) -> tuple[tuple[int, str], ...]:
    """The position and the word of each token that an analysis makes of a query's text.

    With `ngrams`, these are the parts of its words, of which only the last may be too short.
    """
    if len(text) > _CACHED_TEXT_CHARS:
        return _tokens_of(analysis, text)
    return _cached_tokens_of(analysis, text)


def _tokens_of(analysis: WordAnalysis, text: str) -> tuple[tuple[int, str], ...]:
    if analysis.ngrams:
        text = ngrams_of_query(text, analysis.ngrams, is_folded=analysis.is_folded_first)
    elif analysis.texts >= TEXTS:
        text = of_query(text, is_folded=analysis.is_folded_first)
    tokens = analyser_of(analysis).pre_tokenize(text).tokens
    return tuple((token.position, token.text) for token in tokens)


_cached_tokens_of = lru_cache(maxsize=_CACHED_TEXTS)(_tokens_of)
