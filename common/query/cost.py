"""The cost of a query for a scorer, estimated from its tree before the query is sent.

A plain word is looked up; its cost grows with the number of documents that contain it. A fuzzy word
walks through the whole dictionary, a prefix opens every word that begins with it, and a range looks
at a value of every document. Each kind is therefore counted separately and has its own limit. The
counts are upper bounds: words are counted as written, before analysis drops any.
"""

from collections.abc import Sequence
from typing import NamedTuple
from unicodedata import is_normalized

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.fields.word_analysis import WordAnalysis
from hedgerow.common.query.as_typed import MAX_FUZZY_CHARS
from hedgerow.common.query.plain import read_plain
from hedgerow.common.query.pruning import is_removed
from hedgerow.common.query.tokens import count_single, count_words, has_cjk, words_of
from hedgerow.common.query.tree import (
    Alternatives,
    Boosted,
    Clauses,
    Everything,
    Fuzzy,
    Node,
    Occur,
    OneOf,
    Prefix,
    Present,
    Range,
    Typed,
    Words,
)
from hedgerow.common.settings.query_limits import QuerySettings

# Seconds of a scorer's CPU for one part of a kind and one document, measured on 20,000 and on
# 300,000 descriptions of Debian packages: the worst of each kind.
_WORD_S, _EDIT_S, _PREFIX_S, _SCAN_S, _SLOPPY_S = 1.5e-10, 6e-8, 1.25e-7, 4.5e-8, 2e-8
_COLUMN_S, _UNION_S = 1e-8, 1.6e-8


class Cost(NamedTuple):
    """The parts of a query that determine its cost.

    Attributes:
        clauses: words and values.
        fuzzy_edits: the edits that its fuzzy words allow, together.
        prefix_terms: prefixes of words in texts.
        scans: ranges, prefixes of keywords, and parts that match nearly every document.
        sloppy_words: words of phrases that allow gaps.
        longest_fuzzy: the characters of its longest fuzzy word.
        columns: fields whose values are read of every match: facets, sort keys, groups.
        unions: words with synonyms or several analyses, of which the best score counts.
    """

    clauses: int = 0
    fuzzy_edits: int = 0
    prefix_terms: int = 0
    scans: int = 0
    sloppy_words: int = 0
    longest_fuzzy: int = 0
    columns: int = 0
    unions: int = 0

    def plus(self, other: "Cost") -> "Cost":
        """The cost of both together."""
        sums = Cost._make(mine + more for mine, more in zip(self, other, strict=True))
        return sums._replace(longest_fuzzy=max(self.longest_fuzzy, other.longest_fuzzy))

    def cpu_s(self, documents: int) -> float:
        """Roughly the longest that a scorer takes for one shard of `documents`, in s."""
        return documents * (
            self.clauses * _WORD_S
            + self.fuzzy_edits * _EDIT_S
            + self.prefix_terms * _PREFIX_S
            + self.scans * _SCAN_S
            + self.sloppy_words * _SLOPPY_S
            + self.columns * _COLUMN_S
            + self.unions * _UNION_S
        )


# A single character of Chinese, say, is looked up in all pairs that begin with it. So is a word
# that is shorter than the parts of words in a field with `ngrams`.
_SINGLE_CLAUSES = 32
_NO_MORE = Cost()[1:]


def plain_cost(query: str, collection: Collection) -> Cost:
    """The cost of a plain query (`common.query.plain`), or a little more."""
    groups = collection.text_groups
    # What a query that excludes words is subtracted from depends on the others.
    is_usual = "-" not in query and not groups[1:] and not (groups and groups[0].analysis.ngrams)
    # A character can stand for several words: ¼ is 1 and 4.
    is_counted_by_spaces = is_normalized("NFKC", query) and not has_cjk(query)
    if not (is_counted_by_spaces and is_usual) and (tree := read_plain(query)) is not None:
        return estimate(tree, collection)
    clauses = query.count(" ") + query.count("_") + 1
    if '"' in query:
        phrases = query.split('"')[1::2]
        clauses += sum(
            _num_more(collection, one.count(" ") + one.count("_") + 1) for one in phrases
        )
    return Cost(clauses)


def estimate(tree: Node, collection: Collection) -> Cost:
    """The cost of a query on a collection."""
    counts = _Counts(collection)
    counts.add(tree)
    return Cost(
        counts.clauses,
        counts.fuzzy_edits,
        counts.prefix_terms,
        counts.scans,
        counts.sloppy_words,
        counts.longest_fuzzy,
        unions=counts.unions,
    )


def check_cost(cost: Cost, limits: QuerySettings, field: str) -> None:
    """Check a cost against the limits.

    Args:
        cost: of a query, or of a query with its filter.
        limits: the settings.
        field: the caller's name for the part that exceeds the limit.

    Raises:
        BadRequestError: names the limit, its setting and the number found.
    """
    if cost[1:] == _NO_MORE and cost.clauses <= limits.max_clauses:  # words alone, as usual
        return
    for found, limit, what, setting in (
        (cost.clauses, limits.max_clauses, "words and values", "max_clauses"),
        (cost.fuzzy_edits, limits.max_fuzzy_edits, "edits of fuzzy words", "max_fuzzy_edits"),
        (cost.prefix_terms, limits.max_prefix_terms, "prefixes of words", "max_prefix_terms"),
        (cost.scans, limits.max_scans, "ranges and parts that match all", "max_scans"),
        (cost.sloppy_words, limits.max_sloppy_words, "words in loose phrases", "max_sloppy_words"),
    ):
        if found > limit:
            raise BadRequestError(
                field, f"has {found} {what}; the limit is {limit} (query.{setting})"
            )
    if cost.longest_fuzzy > MAX_FUZZY_CHARS:
        raise BadRequestError(
            field,
            f"has a fuzzy word of {cost.longest_fuzzy} characters; the limit is {MAX_FUZZY_CHARS}",
        )


def exceeds(cost: Cost, limits: QuerySettings) -> bool:
    """Whether a cost exceeds the limits."""
    try:
        check_cost(cost, limits, "query")
    except BadRequestError:
        return True
    return False


class _Counts:
    """Counts the parts of a tree, as in `Cost`."""

    def __init__(self, collection: Collection) -> None:
        self.clauses = self.fuzzy_edits = self.prefix_terms = 0
        self.scans = self.sloppy_words = self.longest_fuzzy = self.unions = 0
        self._collection = collection
        groups = collection.text_groups
        # Before a collection has fields, its words count too.
        self._everywhere = [one.analysis for one in groups] or [collection.word_analysis]

    def add(self, node: Node) -> None:
        match node:
            case Words():
                self._words(node)
            case Clauses():
                self._clauses(node)
            case Boosted():
                self.add(node.node)
            case Alternatives():
                self._alternatives(node)
            case Fuzzy() | Typed():
                self._fuzzy(node)
            case Prefix() if self._is_text(node.field):
                self._prefix(node)
            case OneOf():
                self.clauses += len(node.values)
            case Prefix() | Range() | Present() | Everything():
                self.scans += 1

    def _clauses(self, node: Clauses) -> None:
        for _, part in node.clauses:
            self.add(part)
        wanted = [part for occur, part in node.clauses if occur is not Occur.MUST_NOT]
        # Clauses that only exclude are subtracted from all documents, also if only stop words,
        # for one, are wanted.
        is_subtracted = len(wanted) < len(node.clauses) or not wanted
        if is_subtracted and all(is_removed(part, self._collection) for part in wanted):
            self.scans += 1

    def _alternatives(self, node: Alternatives) -> None:
        self.unions += 1
        self.add(node.node)
        for other in node.others:
            self.add(other)

    def _is_text(self, field: str | None) -> bool:
        return field is None or self._collection.type_of(field) is FieldType.TEXT

    def _analyses(self, field: str | None) -> Sequence[WordAnalysis]:
        """How the words of a part of the query are analysed; once for each that is searched."""
        if field is None:
            self.unions += len(self._everywhere) > 1
            return self._everywhere
        return [self._collection.analysis_of(field)]

    def _words(self, node: Words) -> None:
        for analysis in self._analyses(node.field):
            if analysis.ngrams:
                self._ngrams(node.text, analysis.ngrams)
            else:
                self._whole_words(node)

    def _whole_words(self, node: Words) -> None:
        count = count_words(node.text)
        is_everywhere = node.is_phrase and node.field is None
        num_more = _num_more(self._collection, count, node.slop) if is_everywhere else 0
        self.clauses += count + num_more + _SINGLE_CLAUSES * count_single(node.text)
        self.prefix_terms += node.is_prefix * (1 + num_more)
        if node.is_phrase and node.slop and count > 1:
            self.sloppy_words += count

    def _ngrams(self, text: str, size: int) -> None:
        for word in words_of(text):
            is_short = len(word) < size
            self.clauses += 1 + _SINGLE_CLAUSES if is_short else len(word) - size + 1

    def _prefix(self, node: Prefix) -> None:
        for analysis in self._analyses(node.field):
            if analysis.ngrams:
                self._ngrams(node.text, analysis.ngrams)
            else:
                self.prefix_terms += count_words(node.text)

    def _fuzzy(self, node: Fuzzy | Typed) -> None:
        if not self._is_text(node.field):
            self._edits(node, 1)
            return
        for analysis in self._analyses(node.field):
            if analysis.ngrams:
                self._ngrams(node.text, analysis.ngrams)
                continue
            if isinstance(node, Typed):
                self.clauses += 1
                self.prefix_terms += node.is_prefix
            # Each word that the analysis makes of it is fuzzy.
            self._edits(node, count_words(node.text))

    def _edits(self, node: Fuzzy | Typed, num_words: int) -> None:
        self.fuzzy_edits += num_words * node.distance
        if node.distance:
            self.longest_fuzzy = max(self.longest_fuzzy, len(node.text))


def _num_more(collection: Collection, num_words: int, slop: int = 0) -> int:
    """The number of fields in which a phrase without a field name is also looked for.

    It must match within one field: with a gap, which slop allows or a stop word leaves, it might
    join the end of one field to the beginning of the next.
    """
    may_have_gap = num_words > 2 or (slop > 0 and num_words > 1)
    fields = collection.searched_fields
    return len(fields) if may_have_gap and len(fields) > 1 else 0
