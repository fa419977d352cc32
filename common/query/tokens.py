"""Splits texts into words, as their analysis does (`common.query.analysers`).

Chinese, Japanese and Korean do not separate words by spaces, or not all of them. As in Lucene's
CJKBigramFilter, each pair of neighbouring characters is a word, so a text that has a word of two or
more characters has all of its pairs. The last character of a run is a word by itself as well, so
that a query for a single character can look for words that begin with it.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache

import tantivy

# Han, kana, hangul and bopomofo, without their punctuation. (々 and ー belong to the words.)
_CJK = (
    "\u1100-\u11ff\u2e80-\u2fd5\u3005\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303b"
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97c\uac00-\ud7a3\ud7b0-\ud7fb\uf900-\ufaff"
    "\U00020000-\U000323af"
)
_runs_of = re.compile(f"[{_CJK}]+").sub
_find_cjk = re.compile(f"[{_CJK}]").search
cjk_runs = re.compile(f"[{_CJK}]+").finditer
_ascii_words = re.compile(r"[0-9A-Za-z]+").findall
_simple = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).build()

_LAST_TO_FOLD = 0x2E7F  # beyond are other scripts; the compatible form has joined what is left
_fold_one = (
    tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.raw())
    .filter(tantivy.Filter.ascii_fold())
    .build()
    .analyze
)

MAX_WHOLE_WORDS = 5
MAX_WHOLE_CHARS = 64
_letters_and_digits = re.compile(r"[^\W_]+").findall


def words_of(text: str) -> Sequence[str]:
    """The words of a text, as they are written; a run of Chinese, say, is one."""
    words: Sequence[str] = _ascii_words(text) if text.isascii() else _simple.analyze(text)
    return words


def count_words(text: str) -> int:
    """The number of words of a query's text, as their analysis counts; at least 1."""
    return len(words_of(text if text.isascii() else of_query(text))) or 1


def count_single(text: str) -> int:
    """How many words of a query's text are a single character of Chinese, Japanese or Korean."""
    if not has_cjk(text):
        return 0
    return sum(is_single(word) for word in words_of(of_query(text)))


def is_single(word: str) -> bool:
    """Whether a word is a single such character, and so only the beginning of a pair."""
    return len(word) == 1 and has_cjk(word)


def has_cjk(text: str) -> bool:
    """Whether a text has a character of Chinese, Japanese or Korean."""
    return not text.isascii() and _find_cjk(text) is not None


class _Folds(dict[int, str | int]):
    """Character → the same without accents, as tantivy's filter has it.

    The filter itself would take a tenth to a fifth of the CPU of indexing a text, also where there
    is nothing to fold.
    """

    def __missing__(self, character: int) -> str | int:
        if character > _LAST_TO_FOLD:
            return character
        (folded,) = _fold_one(chr(character)) or (character,)
        self[character] = folded
        return folded


_FOLDS = _Folds()


def of_document(text: str, *, is_folded: bool = False) -> str:
    """A document's text in Unicode's compatible form, with pairs of characters instead of runs.

    Args:
        text: the text.
        is_folded: whether its letters lose their accents.
    """
    return text if text.isascii() else _runs_of(_pairs_and_last, _compatible(text, is_folded))


def folded(text: str) -> str:
    """A text in Unicode's compatible form, whose letters lose their accents."""
    return text.translate(_FOLDS)


def _compatible(text: str, is_folded: bool) -> str:
    text = unicodedata.normalize("NFKC", text)
    return folded(text) if is_folded else text


def of_query(text: str, *, is_folded: bool = False) -> str:
    """A query's text in the form of `of_document`.

    A run at the end may go on in a document, so its last character is not a word.
    """
    if text.isascii():
        return text
    text = _compatible(text, is_folded)

    def pairs(run: re.Match[str]) -> str:
        return _pairs(run) if run.end() == len(text) else _pairs_and_last(run)

    return _runs_of(pairs, text)


def ngrams_of_document(text: str, size: int, *, is_folded: bool) -> str:
    """The parts of `size` characters of a document's words, instead of the words.

    From each character on there is one, and those at the end of a word are shorter: "pandas" has
    pan and nda das as s. So a word of a query is in a word of the text if its parts are there in
    this order, and next to each other; one that is shorter than `size` is the beginning of a part.

    Args:
        text: the text.
        size: at least 2.
        is_folded: whether its letters lose their accents.
    """
    if not text.isascii():
        text = _compatible(text, is_folded)
    return " ".join(_parts(size)(text))


def ngrams_of_query(text: str, size: int, *, is_folded: bool) -> str:
    """A query's text in the form of `ngrams_of_document`.

    Its last word may go on in a document, so the shorter parts at its end are left out; only the
    last part can be shorter than `size`, if the whole word is.
    """
    if not text.isascii():
        text = _compatible(text, is_folded)
    words = _letters_and_digits(text)
    if not words:
        return ""
    last = words[-1]
    parts = _parts(size)(" ".join(words))
    return " ".join(parts[: len(parts) - min(size, len(last)) + 1])


@cache
def _parts(size: int) -> Callable[[str], list[str]]:
    return re.compile(rf"(?=([^\W_]{{1,{size}}}))").findall


def whole_text(text: str) -> str:
    """What a short text is equal to if it differs in case, white space and punctuation at most.

    "" if the text has no words, more than `MAX_WHOLE_WORDS`, or more than `MAX_WHOLE_CHARS`.
    """
    if len(text) > MAX_WHOLE_CHARS:
        return ""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    words = _letters_and_digits(text.casefold())
    return " ".join(words) if len(words) <= MAX_WHOLE_WORDS else ""


def plain_form(text: str, *, is_folded: bool) -> str:
    """The words of a text as synonyms are compared: without case and punctuation.

    Args:
        text: the text.
        is_folded: whether accents make no difference.
    """
    if not text.isascii():
        text = _compatible(text, is_folded)
    return " ".join(_letters_and_digits(text.casefold()))


def plain_words(text: str, *, is_folded: bool) -> Sequence[str]:
    """The words of a query's text of which `ngrams_of_query` makes parts, in lower case."""
    if not text.isascii():
        text = _compatible(text, is_folded)
    return _letters_and_digits(text.lower())


def _pairs(run: re.Match[str]) -> str:
    characters = run[0]
    if len(characters) == 1:
        return f" {characters} "
    pairs = (characters[at : at + 2] for at in range(len(characters) - 1))
    return f" {' '.join(pairs)} "


def _pairs_and_last(run: re.Match[str]) -> str:
    characters = run[0]
    return _pairs(run) if len(characters) == 1 else f"{_pairs(run)}{characters[-1]} "
