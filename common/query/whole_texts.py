"""Texts that are a query as a whole: what they are, and how documents with one are marked."""

from collections.abc import Iterator
from hashlib import blake2b

from hedgerow.common.query.tokens import MAX_WHOLE_WORDS, whole_text
from hedgerow.common.query.tree import Clauses, Everything, Node, Occur, Typed, Words

WHOLE = "~"  # begins a mark
_CHARS = 12  # longer texts are hashed to as many, since long terms would bloat the index


def whole_of(tree: Node) -> str:
    """What a whole text has to be in order to equal a query; "" if none can.

    Only a query of words without field names can equal a text.
    """
    words = []
    for node in _flat(tree):
        if not isinstance(node, Words | Typed) or node.field is not None:
            return ""
        words.append(node.text)
        if len(words) > MAX_WHOLE_WORDS:
            return ""
    return whole_text(" ".join(words))


def _flat(tree: Node) -> Iterator[Node]:
    if isinstance(tree, Clauses):
        for occur, part in tree.clauses:
            yield from _flat(part if occur is not Occur.MUST_NOT else Everything())
    else:
        yield tree


def whole_mark(text: str) -> str:
    """The mark of documents that have a searched text which is this as a whole.

    Args:
        text: what `whole_text` has made of it.
    """
    if len(text) > _CHARS:
        text = blake2b(text.encode(), digest_size=_CHARS // 2).hexdigest()
    return f"{WHOLE}{text}"
