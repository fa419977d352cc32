"""Did you mean: from the words that shards think are misspelt to a query that finds more. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from html import unescape
from typing import Final
from unicodedata import normalize

from hedgerow.common.query.tokens import folded
from hedgerow.common.wire.messages import SearchBody
from hedgerow.common.wire.search_options import Slip
from hedgerow.gateway.search.result import Hit

FEW_HITS: Final = 5
MOST_CORRECTED: Final = 2  # words of a query
_TWO_EDITS_CHARS: Final = 7  # below it, a form may be one edit away from what was typed
_MARKED: Final = re.compile("<em>(.*?)</em>", re.DOTALL)


def merged_slips(bodies: Iterable[tuple[int, SearchBody]]) -> tuple[Slip, ...]:
    """The words that all shards that have answered think are misspelt, as the first one says it.

    A shard that has indexed a word since the statistics were collected knows it.
    """
    of_shards = [
        {(slip.field, slip.word): slip for slip in body.extras.slips}
        for _, body in sorted(bodies, key=lambda one: one[0])
        if body.extras is not None
    ]
    if not of_shards:
        return ()
    first, *others = of_shards
    return tuple(slip for key, slip in first.items() if all(key in other for other in others))


def to_correct(slips: Sequence[Slip], total_hits: int) -> Sequence[Slip]:
    """The words to correct: those that no document has, or rare ones if few documents match."""
    is_few = total_hits <= FEW_HITS
    return [slip for slip in slips if is_few or not slip.frequency][:MOST_CORRECTED]


def forms_in(hits: Iterable[Hit]) -> Counter[str]:
    """How often documents write a word in each form, from their highlights."""
    counts: Counter[str] = Counter()
    for hit in hits:
        highlights = hit.highlights
        if isinstance(highlights, dict):
            counts.update(
                {
                    unescape(form).casefold()
                    for snippets in highlights.values()
                    for snippet in snippets
                    for form in _MARKED.findall(snippet)
                }
            )
    return counts


def written_as(slip: Slip, forms: Iterable[Counter[str]]) -> str | None:
    """How documents write the word that was meant; None if that is not like what was typed.

    That with the fewest edits is taken, then that of the likelier candidate, then the most
    frequent.

    Args:
        slip: what was typed.
        forms: of each candidate.
    """
    from rapidfuzz.distance import OSA  # noqa: PLC0415 - only misspelt queries need it

    typed = _plain(slip.word)
    most_edits = 1 if len(typed) < _TWO_EDITS_CHARS else 2
    near = [
        (edits, place, -count, form)
        for place, counts in enumerate(forms)
        for form, count in counts.items()
        if 0 < (edits := OSA.distance(typed, _plain(form))) <= most_edits
    ]
    return _in_case_of(slip.word, min(near)[-1]) if near else None


def _plain(word: str) -> str:
    """A word without accents and capitals, which are no slips."""
    return folded(normalize("NFKC", word)).casefold()


def _in_case_of(typed: str, word: str) -> str:
    if typed.isupper():
        return word.upper()
    return word.title() if typed.istitle() else word


def with_word(query: str, typed: str, word: str) -> str:
    """The query with another word wherever the typed one stands as a whole, but as a field."""
    return re.sub(rf"(?<![^\W_]){re.escape(typed)}(?![^\W_]|:)", lambda _: word, query)
