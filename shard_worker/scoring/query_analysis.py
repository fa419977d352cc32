"""Queries as all shards of a collection understand them: read once, whichever shard is searched."""

from functools import lru_cache, partial

from hedgerow.common.collection import Collection
from hedgerow.common.query.syntax import parse, parse_filter
from hedgerow.common.query.tree import Boosted, Clause, Clauses, Node, Words
from hedgerow.shard_worker.storage.schema import analyser_of, searched_field

# Only short ones are kept: a query of 4,096 characters takes 300 KB once it is read, and its words
# 180 KB once they are analysed.
_KEPT_QUERIES = 64
_KEPT_QUERY_CHARS = 256
_KEPT_TEXTS = 4096
_KEPT_TEXT_CHARS = 64


class QueryAnalysis:
    """Reads queries on one definition of a collection, and keeps the last ones.

    A scorer has the shards of a query one after the other, so all but the first find it read.
    Reading takes 8 µs of CPU, 25 where the parser is needed: a search of some ten thousand short
    documents takes 10.

    Attributes:
        collection: the definition.
    """

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        # Not of methods: an object that refers to itself outlives its collection for a while.
        self._kept = lru_cache(maxsize=_KEPT_QUERIES)(partial(_read, collection))
        self._kept_filters = lru_cache(maxsize=_KEPT_QUERIES)(partial(_read_filter, collection))

    def read(self, query: str, strict: bool) -> Node:
        """The query's tree, without what analysis leaves nothing of."""
        if len(query) > _KEPT_QUERY_CHARS:
            return _read(self.collection, query, strict)
        return self._kept(query, strict)

    def read_filter(self, text: str) -> Node | None:
        """The filter, read; None where there is none."""
        if len(text) > _KEPT_QUERY_CHARS:
            return _read_filter(self.collection, text)
        return self._kept_filters(text)


def _read(collection: Collection, query: str, strict: bool) -> Node:
    # What is lenient for the gateway's warnings was said there.
    return pruned(parse(query, collection, strict=strict)[0], collection)


def _read_filter(collection: Collection, text: str) -> Node | None:
    return pruned(parse_filter(text, collection), collection) if text else None


def tokens_of(language: str, text: str) -> tuple[tuple[int, str], ...]:
    """What analysis makes of a text: the position and the word of each token."""
    if len(text) > _KEPT_TEXT_CHARS:
        return _tokens_of(language, text)
    return _kept_tokens_of(language, text)


def _tokens_of(language: str, text: str) -> tuple[tuple[int, str], ...]:
    tokens = analyser_of(language).pre_tokenize(text).tokens
    return tuple((token.position, token.text) for token in tokens)


_kept_tokens_of = lru_cache(maxsize=_KEPT_TEXTS)(_tokens_of)


def pruned(node: Node, collection: Collection) -> Node:
    """The query without what analysis leaves nothing of, such as stop words; alike in matches."""
    return _pruned(node, collection) or Clauses(())


def _pruned(node: Node, collection: Collection) -> Node | None:
    match node:
        case Words():
            if tokens_of(collection.language, node.text):
                return node
            has_field = node.field is not None or searched_field(collection) is not None
            return None if has_field else node
        case Boosted():
            inner = _pruned(node.node, collection)
            return None if inner is None else Boosted(inner, node.boost)
        case Clauses():
            parts = [(occur, _pruned(part, collection)) for occur, part in node.clauses]
            kept = tuple(Clause(occur, part) for occur, part in parts if part is not None)
            return Clauses(kept) if kept else None
        case _:
            return node
