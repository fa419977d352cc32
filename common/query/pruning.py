"""Leaves out the words of a query that analysis removes."""

from collections.abc import Sequence

from hedgerow.common.collection import Collection
from hedgerow.common.query.analysers import tokens_of
from hedgerow.common.query.searched import Searched, searched, targets_of
from hedgerow.common.query.tree import Alternatives, Boosted, Clause, Clauses, Node, Words


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
