"""Adds to the words of a query those that mean the same.

What the words of a rule and of a query have in common is compared as they are written: case,
punctuation, and accents in a collection that folds them, make no difference, but endings do. A rule
of several words applies where a query has them one after the other. Of several rules that apply at
a word, the one with the most words does. Phrases, words with `~` or `*`, and words that are
excluded, are taken as they are written.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hedgerow.common.query.tokens import plain_form
from hedgerow.common.query.tree import (
    Alternatives,
    Boosted,
    Clause,
    Clauses,
    Node,
    Occur,
    Words,
)
from hedgerow.common.wire.search_options import Synonym


class SynonymRules:
    """The rules of one collection, or those that one query needs."""

    def __init__(self, *, folding: bool) -> None:
        """There are none yet; `folding` says whether accents make no difference."""
        self._folding = folding
        self._rules: dict[str, list[Sequence[str]]] = {}  # form → texts that mean the same
        self._longest: dict[str, int] = {}  # first word → the most words of a rule that begins so

    @classmethod
    def of(cls, synonyms: Iterable[Synonym], *, folding: bool) -> "SynonymRules":
        """The rules that a search came with."""
        rules = cls(folding=folding)
        for one in synonyms:
            rules.add(one.words, one.also)
        return rules

    def add_group(self, texts: Sequence[str]) -> None:
        """Have each of the texts find the others."""
        for text in texts:
            self.add(text, texts)

    def add(self, text: str, also: Sequence[str]) -> None:
        """Have a text find others as well."""
        form = self.form_of(text)
        self._rules.setdefault(form, []).append(also)
        first, spaces = form.partition(" ")[0], form.count(" ")
        self._longest[first] = max(self._longest.get(first, 0), spaces + 1)

    def form_of(self, text: str) -> str:
        """A text as it is compared: its words, with a space between them."""
        return plain_form(text, is_folded=self._folding)

    def longest(self, first: str) -> int:
        """The most words of a rule that begins with this one; 0 without any."""
        return self._longest.get(first, 0)

    def also(self, form: str) -> tuple[str, ...]:
        """What means the same as a form, in the order of the rules."""
        found: dict[str, str] = {}
        for texts in self._rules.get(form, ()):
            for text in texts:
                found.setdefault(self.form_of(text), text)
        found.pop(form, None)
        return tuple(found.values())


class Expanded(NamedTuple):
    """A query with synonyms.

    Attributes:
        tree: the query.
        used: the rules that apply to it; with them alone, it is expanded in the same way.
        is_cut: whether there were more synonyms than allowed.
    """

    tree: Node
    used: tuple[Synonym, ...] = ()
    is_cut: bool = False


def expand(tree: Node, rules: SynonymRules, most: int) -> Expanded:
    """Add synonyms to a query, as it was parsed.

    Args:
        tree: the query.
        rules: of its collection.
        most: how many texts to add at most, each counted once; the first words come first.
    """
    expander = _Expander(rules, most)
    expanded = expander.read(tree)
    used = tuple(Synonym(form, also) for form, also in expander.used.items() if also)
    return Expanded(expanded if used else tree, used, expander.is_cut)


class _Expander:
    """Expands one query, in the order of its words."""

    def __init__(self, rules: SynonymRules, most: int) -> None:
        self._rules = rules
        self._left = most
        self.used: dict[str, tuple[str, ...]] = {}
        self.is_cut = False

    def read(self, node: Node) -> Node:
        match node:
            case Words():
                return self._clauses((Clause(Occur.SHOULD, node),))[0].node
            case Boosted():
                return Boosted(self.read(node.node), node.boost)
            case Clauses():
                return Clauses(self._clauses(node.clauses))
            case _:
                return node

    def _clauses(self, clauses: Sequence[Clause]) -> tuple[Clause, ...]:
        read: list[Clause] = []
        forms = [self._form(one) for one in clauses]
        at = 0
        while at < len(clauses):
            occur, node = clauses[at]
            if not forms[at]:
                is_read = occur is not Occur.MUST_NOT and not isinstance(node, Words)
                read.append(Clause(occur, self.read(node)) if is_read else clauses[at])
                at += 1
                continue
            num, also = self._rule(clauses, forms, at)
            typed = node if num == 1 else Clauses(tuple(clauses[at : at + num]))
            others = tuple(Words(_field(node), text, is_phrase=True) for text in also)
            read.append(Clause(occur, Alternatives(typed, others) if others else typed))
            at += num
        return tuple(read)

    def _form(self, clause: Clause) -> str:
        """A clause as rules are compared with it; "" if none can apply."""
        node = clause.node
        is_word = isinstance(node, Words) and not node.is_phrase and not node.is_prefix
        if not is_word or clause.occur is Occur.MUST_NOT:
            return ""
        return self._rules.form_of(node.text)  # type: ignore[union-attr]  # it is Words

    def _rule(
        self, clauses: Sequence[Clause], forms: Sequence[str], at: int
    ) -> tuple[int, tuple[str, ...]]:
        """How many clauses the rule covers that applies from one on, and its texts."""
        longest = self._rules.longest(forms[at].partition(" ")[0])
        best: tuple[int, tuple[str, ...]] = 1, ()
        form, first = "", clauses[at]
        for end in range(at, len(clauses)):
            occur, node = clauses[end]
            if not forms[end] or occur is not first.occur or _field(node) != _field(first.node):
                break
            form = f"{form} {forms[end]}" if form else forms[end]
            if form.count(" ") >= longest:
                break
            if also := self._texts(form):
                best = end - at + 1, also
        return best

    def _texts(self, form: str) -> tuple[str, ...]:
        known = self.used.get(form)
        if known is None:
            also = self._rules.also(form)
            known = self.used[form] = also[: self._left]
            self.is_cut |= len(known) < len(also)
            self._left -= len(known)
        return known


def _field(node: Node) -> str | None:
    return node.field if isinstance(node, Words) else None
