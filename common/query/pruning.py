"""Leaves out the words of a query that analysis removes."""

from collections.abc import Sequence

from hedgerow.common.collection import Collection
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.query.analysers import tokens_of
from hedgerow.common.query.searched import Searched, searched, targets_of
from hedgerow.common.query.tree import (
    Alternatives,
    Boosted,
    Clause,
    Clauses,
    Fuzzy,
    Node,
    Prefix,
    Typed,
    Words,
)


def pruned(node: Node, collection: Collection) -> Node:
    """The query without the words that analysis removes, such as stop words; matches the same."""
    return _pruned(node, collection, searched(collection)) or Clauses(())


def is_removed(node: Node, collection: Collection) -> bool:
    """Whether analysis removes a whole part of a query, as if it had not been written."""
    return _pruned(node, collection, searched(collection)) is None


def _pruned(node: Node, collection: Collection, everywhere: Sequence[Searched]) -> Node | None:
    match node:
        case Words() | Fuzzy() | Typed() | Prefix():
            targets = everywhere if node.field is None else targets_of(collection, node.field)
            return node if _is_kept(node, targets, collection) else None
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


def _is_kept(
    node: Words | Fuzzy | Typed | Prefix, targets: Sequence[Searched], collection: Collection
) -> bool:
    """Whether analysis leaves a word of a text, or it is the value of another field."""
    if isinstance(node, Words) and len(targets) == 1:  # the short way for most words
        return bool(tokens_of(targets[0].analysis, node.text))
    analyses = [one.analysis for one in targets]
    if not isinstance(node, Words):
        if node.field is not None and collection.type_of(node.field) is not FieldType.TEXT:
            return True
        if isinstance(node, Prefix) or (isinstance(node, Typed) and node.is_prefix):
            # A stop word may be the beginning of another word. Parts of words find that anyway.
            analyses = [one if one.ngrams else one._replace(language="none") for one in analyses]
    return not analyses or any(tokens_of(one, node.text) for one in analyses)
