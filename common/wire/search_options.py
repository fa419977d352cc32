"""What a search may ask for beyond its hits, and what a shard returns for it.

Each feature has its members here, which by default mean that it is not used. They go only to
workers that know them: a worker's heartbeat has the level of what it knows
(`Heartbeat.search_options`). Each feature that is added raises `LEVEL`.
"""

from enum import IntEnum
from typing import Annotated, Final, TypeAlias

import msgspec

from hedgerow.common.wire.packing import Array, Count, Finite

SCORE: Final = "_score"  # the sort key that is the score

# 1: facets, sort, search_after and group_by.
# 2: typos and prefix; and `word_analysis.TEXTS`, which is not an option, but as new.
# 3: vector, candidates, synonyms, highlights, more_like and did_you_mean; and
# `collection.VectorField`s and `word_analysis.FIELD_TEXTS`, which are not options, but as new.
# 4: refine.
# 5: `messages.Attach.k`, which is not an option, but as new.
LEVEL: Final = 5
TEXTS_LEVEL: Final = 2
VECTORS_LEVEL: Final = 3
SYNONYMS_LEVEL: Final = 3
FIELD_TEXTS_LEVEL: Final = 3
HIGHLIGHTS_LEVEL: Final = 3
LIKE_LEVEL: Final = 3
REFINE_LEVEL: Final = 4
LOCAL_MERGE_LEVEL: Final = 5

# A field's value: a keyword, a number, a boolean, or a date (RFC 3339, in UTC, to the second, so
# that dates are ordered as texts); None if a document has none.
Value: TypeAlias = bool | int | Finite | str | None


class FacetKind(IntEnum):
    """How a facet divides the documents."""

    TERMS = 1  # by value
    RANGES = 2  # by bounds
    HISTOGRAM = 3  # by intervals of the same length
    CALENDAR = 4  # dates, by a unit of the calendar
    STATS = 5  # not at all: the count, sum, minimum and maximum of all values


class WantedFacet(Array, frozen=True):
    """One facet of a search.

    Attributes:
        field: whose values are counted.
        kind: a `FacetKind`.
        size: the most values or intervals to return.
        bounds: of ranges, ascending; n bounds make n + 1 ranges, the first and last without end.
        interval: the length of the intervals of a histogram.
        unit: of a calendar: year, month, day, hour or minute.
    """

    field: str
    kind: int
    size: Count = 0
    bounds: tuple[Value, ...] = ()
    interval: Finite = 0.0
    unit: str = ""


class Choice(Array, frozen=True):
    """Only documents are wanted that have one of these values, or a value in one of these ranges.

    Attributes:
        field: whose values are meant; a facet of the same field counts as if nothing were chosen.
        values: the values; dates are whole seconds.
        ranges: first value, inclusive, and end, exclusive; None for no bound.
    """

    field: str
    values: tuple[Value, ...] = ()
    ranges: tuple[tuple[Value, Value], ...] = ()


class SortKey(Array, frozen=True):
    """One key of a search's order; ties of all keys are ordered by id.

    Attributes:
        field: whose values are compared; "_score" for the score, which can only be the last key.
        is_descending: whether the largest value comes first.
        is_missing_first: whether documents without a value come first; otherwise they come last.
    """

    field: str
    is_descending: bool
    is_missing_first: bool = False


class After(Array, frozen=True):
    """The place in the order after which hits are wanted.

    Attributes:
        values: of the last hit, for each sort key; its score where that is a key.
        id: the last hit's id.
        position: about how many hits of this shard come before, where to start looking.
    """

    values: tuple[Value, ...]
    id: str
    position: Count = 0


class WantedVector(Array, frozen=True):
    """Documents are wanted by how near their vectors are to another.

    Attributes:
        field: the vector field.
        value: the vector, packed as `VectorField.pack` does.
        k: how many of the nearest documents each shard looks for, at least as many as it returns.
        ef: how many it keeps in view while it looks for them in an index.
    """

    field: str
    value: bytes
    k: Count
    ef: Count


class Candidate(Array, frozen=True):
    """A document of a fused ranking, for the second phase.

    Attributes:
        shard: which has the document.
        id: the document's.
        score: fused.
        legs: its score in the leg by text and in that by vector; None in one that has not found it.
    """

    shard: Count
    id: str
    score: Finite
    legs: tuple[Finite | None, Finite | None]


class Synonym(Array, frozen=True):
    """Words of a query, and what is searched for as well.

    Attributes:
        words: as they are compared (`common.query.tokens.plain_form`).
        also: texts that mean the same.
    """

    words: str
    also: tuple[str, ...]


class LikeTerms(Array, frozen=True):
    """Documents are wanted that have some of these words, instead of those that match a query.

    Attributes:
        id: of a document that is not wanted; "" for none.
        terms: field of the index, and word, as it is there.
    """

    id: str
    terms: tuple[tuple[str, str], ...]


class WantedTerms(Array, frozen=True):
    """The words of a document that are wanted.

    Attributes:
        fields: the text fields, each by itself; empty for all searched texts together.
        max_terms: the most words.
        max_chars: how much of the texts is read, in characters.
    """

    fields: tuple[str, ...]
    max_terms: Count
    max_chars: Count


class SearchOptions(Array, frozen=True):
    """What else a search asks for; each member's default means that it is not asked for.

    Members are called as in a search's body.

    Attributes:
        facets: counts of all matches, by field.
        sort: the order of the hits; empty for the order by score.
        search_after: only hits after this place.
        group_by: only the best hit of each value of this keyword field.
        typos: how many edits the query's words may be away, together.
        prefix: whether the query's last word may be the beginning of another.
        vector: rank by the distance to a vector, not by a query.
        candidates: do not retrieve; have the second phase score these, those of the own shard.
        synonyms: what words of the query are looked for as well; not a member of a search's body,
            where it says whether the collection's synonyms apply.
        like: words instead of a query.
        did_you_mean: whether to say which words of the query are probably misspelt.
        refine: which values are wanted, at most one choice a field.
    """

    facets: tuple[WantedFacet, ...] = ()
    sort: tuple[SortKey, ...] = ()
    search_after: After | None = None
    group_by: str = ""
    typos: Count = 0
    prefix: bool = False
    vector: WantedVector | None = None
    candidates: tuple[Candidate, ...] = ()
    synonyms: tuple[Synonym, ...] = ()
    like: LikeTerms | None = None
    did_you_mean: bool = False
    refine: tuple[Choice, ...] = ()

    @property
    def level(self) -> int:
        """The level of `Heartbeat.search_options` that a worker needs for it."""
        if self.refine:
            return REFINE_LEVEL
        if self.vector is not None or self.candidates:
            return VECTORS_LEVEL
        if self.synonyms:
            return SYNONYMS_LEVEL
        if self.like is not None or self.did_you_mean:
            return LIKE_LEVEL
        return 2 if self.typos or self.prefix else 1

    @property
    def used(self) -> list[str]:
        """The names of the members that are asked for."""
        return [
            name for name in self.__struct_fields__ if getattr(self, name) != getattr(_NONE, name)
        ]


_NONE: Final = SearchOptions()


class WantedHighlights(Array, frozen=True):
    """The highlights of a search.

    Attributes:
        fields: the text fields in which to mark what matches.
        snippets: the most snippets of a field; 0 for the whole text.
        snippet_chars: about how long a snippet is, in characters.
        max_chars: how much of a text is looked at, in characters.
        pre: what stands before a marked word.
        post: what stands after it.
    """

    fields: tuple[str, ...]
    snippets: Count
    snippet_chars: Count
    max_chars: Count
    pre: str
    post: str


class Highlighting(Array, frozen=True):
    """What to mark in documents, and how.

    Attributes:
        query: the search's query.
        strict: whether it is read in strict syntax.
        options: those of the search that say how its words are read; None for none.
        wanted: the highlights.
    """

    query: str
    strict: bool
    options: SearchOptions | None
    wanted: WantedHighlights


class FacetPart(Array, frozen=True):
    """One shard's part of a facet.

    Attributes:
        values: the values, or where the intervals begin; empty for ranges.
        counts: how many documents have each of them, or are in each range.
        error: how many documents more may have any of `values`, at most.
        unlisted: how many documents may have a value that is not in `values`, at most.
        other: how many values were counted that are not in `values`, repetitions included.
        stats: the number of values, their sum, the smallest and the largest.
    """

    values: tuple[Value, ...] = ()
    counts: tuple[Count, ...] = ()
    error: Count = 0
    unlisted: Count = 0
    other: Count = 0
    stats: tuple[Count, float, Value, Value] | None = None


class Slip(Array, frozen=True):
    """A word of a query that is probably misspelt.

    Attributes:
        word: the word, as it was typed.
        field: the field of the index in which it was probably meant to be found.
        frequency: how many of the collection's documents have it.
        candidates: the words that were probably meant, as they are in the index, and how many
            documents have each; the likeliest first.
    """

    word: str
    field: str
    frequency: Count
    candidates: tuple[tuple[str, Count], ...]


class SearchExtras(Array, frozen=True):
    """What a shard returns for a search's options, in the order of its hits or of the options.

    Attributes:
        facets: one part for each facet that was asked for.
        sort_values: each hit's values of the sort keys; empty without a sort.
        groups: each hit's value of the field by which the hits are grouped; empty without one.
        ranking: names what the scores depend on beyond the document; "" if no scores were computed.
        slips: the query's words that are probably misspelt.
    """

    facets: tuple[FacetPart, ...] = ()
    sort_values: tuple[tuple[Value, ...], ...] = ()
    groups: tuple[Value, ...] = ()
    ranking: Annotated[str, msgspec.Meta(max_length=200)] = ""
    slips: tuple[Slip, ...] = ()
