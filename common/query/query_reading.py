"""Reads a query as scorers do: with its synonyms, and with words as people type them."""

from hedgerow.common.collection import Collection
from hedgerow.common.fields.word_analysis import TEXTS
from hedgerow.common.query.as_typed import AS_WRITTEN, Typing, as_typed
from hedgerow.common.query.pruning import pruned
from hedgerow.common.query.synonyms import SynonymRules, expand
from hedgerow.common.query.syntax import parse
from hedgerow.common.query.tree import Node, Whole
from hedgerow.common.query.whole_texts import whole_of
from hedgerow.common.wire.search_options import Synonym


def read_query(
    query: str,
    collection: Collection,
    *,
    strict: bool,
    typing: Typing = AS_WRITTEN,
    synonyms: tuple[Synonym, ...] = (),
) -> Node:
    """The tree of a query that was checked, without the words that analysis removes.

    It is a `Whole` if the text of a document can equal the query.

    Args:
        query: the query.
        collection: whose fields it names.
        strict: whether its syntax is strict.
        typing: how its words may differ from what is meant.
        synonyms: what they are looked for as, too.
    """
    # The gateway has already reported the parser's warnings.
    tree = expanded = parse(query, collection, strict=strict)[0]
    if synonyms:
        rules = SynonymRules.of(synonyms, folding=collection.folding)
        expanded = expand(tree, rules, sum(len(one.also) for one in synonyms)).tree
    typed = as_typed(expanded, typing)
    if collection.texts >= TEXTS and (text := whole_of(tree)):
        return Whole(pruned(typed, collection), text)
    return pruned(typed, collection)
