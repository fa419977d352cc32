"""Queries as all shards of a collection understand them: read once, whichever shard is searched."""

from functools import lru_cache
from typing import NamedTuple

from common.collection import Collection
from common.query_syntax import parse, parse_filter
from common.query_tree import Boosted, Clause, Clauses, Node, Words, is_constant
from shard_worker.schema import analyser_of, searched_field

_KEPT_QUERIES = 256
_KEPT_TEXTS = 4096


class Understood(NamedTuple):
    """A query that was read.

    Attributes:
        node: its tree, without what analysis leaves nothing of.
        is_constant: whether all its matches get the same score.
    """

    node: Node
    is_constant: bool


class Understanding:
    """Reads queries on one definition of a collection, and keeps the last ones.

    A scorer has the shards of a query one after the other, so all but the first find it read.
    Reading takes 8 µs of CPU, 25 where the parser is needed: a search of some ten thousand short
    documents takes 10.

    Attributes:
        collection: the definition.
    """

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.read = lru_cache(maxsize=_KEPT_QUERIES)(self._read)
        self.read_filter = lru_cache(maxsize=_KEPT_QUERIES)(self._read_filter)

    def _read(self, query: str, strict: bool) -> Understood:
        # What is lenient for the gateway's warnings was said there.
        node = pruned(parse(query, self.collection, strict=strict)[0], self.collection)
        return Understood(node, is_constant(node))

    def _read_filter(self, text: str) -> Node | None:
        return pruned(parse_filter(text, self.collection), self.collection) if text else None


@lru_cache(maxsize=_KEPT_TEXTS)
def tokens_of(language: str, text: str) -> tuple[tuple[int, str], ...]:
    """What analysis makes of a text: the position and the word of each token."""
    tokens = analyser_of(language).pre_tokenize(text).tokens
    return tuple((token.position, token.text) for token in tokens)


def pruned(node: Node, collection: Collection) -> Node:
    """The query without what analysis leaves nothing of, such as stop words; alike in matches.

    What is left may be a constant where the query as written is none (`is_constant`).
    """
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
