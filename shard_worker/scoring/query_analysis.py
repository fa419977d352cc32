"""Parses and analyses queries, once for all shards of a collection that a scorer searches."""

from collections.abc import Sequence
from functools import lru_cache, partial

from hedgerow.common.collection import Collection
from hedgerow.common.fields.word_analysis import TEXTS
from hedgerow.common.query.analysers import tokens_of
from hedgerow.common.query.as_typed import AS_WRITTEN, Typing, as_typed
from hedgerow.common.query.synonyms import SynonymRules, expand
from hedgerow.common.query.syntax import parse, parse_filter
from hedgerow.common.query.tree import (
    Alternatives,
    Boosted,
    Clause,
    Clauses,
    Node,
    Whole,
    Words,
)
from hedgerow.common.query.whole_texts import whole_of
from hedgerow.common.wire.search_options import Synonym
from hedgerow.shard_worker.storage.schema import Searched, searched

# Only short queries are cached: one of 4,096 characters takes 300 KB when it is parsed.
_CACHED_QUERIES = 64
_CACHED_QUERY_CHARS = 256


class QueryAnalysis:
    """Parses queries for one definition of a collection, and caches the last ones.

    A scorer searches the shards of a query one after the other, so that only the first has to parse
    it. Parsing takes 8 µs of CPU, or 25 µs if the query has operators; searching ten thousand short
    documents takes 10 µs.

    Attributes:
        collection: the definition.
    """

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        # Caches of functions, not of methods: an object that refers to itself stays in memory until
        # the garbage collector runs.
        self._cached_read = lru_cache(maxsize=_CACHED_QUERIES)(partial(_read, collection))
        self._cached_read_filter = lru_cache(maxsize=_CACHED_QUERIES)(
            partial(_read_filter, collection)
        )

    def read(
        self,
        query: str,
        strict: bool,
        typing: Typing = AS_WRITTEN,
        synonyms: tuple[Synonym, ...] = (),
    ) -> Node:
        """The query's tree with its synonyms, without the words that analysis removes."""
        if len(query) > _CACHED_QUERY_CHARS:
            return _read(self.collection, query, strict, typing, synonyms)
        return self._cached_read(query, strict, typing, synonyms)

    def read_filter(self, text: str) -> Node | None:
        """The filter's tree; None if there is no filter."""
        if len(text) > _CACHED_QUERY_CHARS:
            return _read_filter(self.collection, text)
        return self._cached_read_filter(text)


def _read(
    collection: Collection,
    query: str,
    strict: bool,
    typing: Typing,
    synonyms: tuple[Synonym, ...],
) -> Node:
    # The gateway has already reported the parser's warnings.
    tree = expanded = parse(query, collection, strict=strict)[0]
    if synonyms:
        rules = SynonymRules.of(synonyms, folding=collection.folding)
        expanded = expand(tree, rules, sum(len(one.also) for one in synonyms)).tree
    typed = as_typed(expanded, typing)
    if collection.texts >= TEXTS and (text := whole_of(tree)):
        return Whole(pruned(typed, collection), text)
    return pruned(typed, collection)


def _read_filter(collection: Collection, text: str) -> Node | None:
    return pruned(parse_filter(text, collection), collection) if text else None


def targets_of(collection: Collection, field: str | None) -> tuple[Searched, ...]:
    """Where words of a query are looked for, which name this field, or none."""
    if field is None:
        return searched(collection)
    return (Searched(field, collection.analysis_of(field), (field,)),)


def pruned(node: Node, collection: Collection) -> Node:
    """The query without the words that analysis removes, such as stop words; matches the same."""
    return _pruned(node, collection, searched(collection)) or Clauses(())


def _pruned(node: Node, collection: Collection, everywhere: Sequence[Searched]) -> Node | None:
    match node:
        case Words():
            targets = everywhere if node.field is None else targets_of(collection, node.field)
            if len(targets) == 1:  # the short way for most words
                return node if tokens_of(targets[0].analysis, node.text) else None
            is_kept = not targets or any(tokens_of(one.analysis, node.text) for one in targets)
            return node if is_kept else None
        case Boosted():
            inner = _pruned(node.node, collection, everywhere)
            return None if inner is None else Boosted(inner, node.boost)
        case Alternatives():
            inner = _pruned(node.node, collection, everywhere)
            others = tuple(one for one in node.others if _pruned(one, collection, everywhere))
            # A synonym is found also if the typed word is a stop word, such as IT.
            return Alternatives(inner or Clauses(()), others) if others else inner
        case Clauses():
            parts = [(one.occur, _pruned(one.node, collection, everywhere)) for one in node.clauses]
            kept = tuple(Clause(occur, part) for occur, part in parts if part is not None)
            return Clauses(kept) if kept else None
        case _:
            return node
