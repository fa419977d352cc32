"""Remembers what the checks of the last queries and filters have found.

To parse a query that is more than plain words takes 10 to 30 µs of the event loop's time, as much
as all else that a search does before its shards are asked. Callers repeat themselves, above all in
filters. The result depends on nothing but the text, the syntax and the definition of the
collection, and a definition is an object that is replaced when it changes.
"""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from hedgerow.common.collection import Collection
from hedgerow.common.query import syntax
from hedgerow.common.query.cost import Cost
from hedgerow.common.query.plain import is_plain

MOST: Final = 1024  # of queries, and of filters
LONGEST: Final = 512  # characters; together at most some MB

T = TypeVar("T")


class Checked(Generic[T]):
    """The results of the last checks, by text, collection and syntax."""

    def __init__(self) -> None:
        """Know of none."""
        self._known: OrderedDict[tuple[str, str, bool], tuple[Collection, T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, text: str, collection: Collection, strict: bool) -> T | None:
        """What was found for this text and this very definition; None if that is not known."""
        key = text, collection.uid, strict
        known = self._known.get(key)
        if known is None or known[0] is not collection:
            return None
        self._known.move_to_end(key)
        return known[1]

    def put(self, text: str, collection: Collection, strict: bool, found: T) -> None:
        """Remember what was found, unless the text is long, and forget what was not asked since."""
        if len(text) > LONGEST:
            return
        self._known[text, collection.uid, strict] = collection, found
        if len(self._known) > MOST:
            self._known.popitem(last=False)


_queries: Final = Checked[tuple[Cost, tuple[str, ...]]]()
_filters: Final = Checked[Cost]()


def check_query(query: str, collection: Collection, strict: bool) -> tuple[Cost, list[str]]:
    """As `common.query.syntax.check_query`; raises BadRequestError."""
    if is_plain(query):  # to look it up would take as long
        return syntax.check_query(query, collection, strict)
    found = _queries.get(query, collection, strict)
    if found is None:
        cost, warnings = syntax.check_query(query, collection, strict)
        found = cost, tuple(warnings)
        _queries.put(query, collection, strict, found)
    return found[0], list(found[1])


def check_filter(text: str, collection: Collection) -> Cost:
    """As `common.query.syntax.check_filter`; raises BadRequestError."""
    if is_plain(text):
        return syntax.check_filter(text, collection)
    found = _filters.get(text, collection, strict=True)
    if found is None:
        found = syntax.check_filter(text, collection)
        _filters.put(text, collection, strict=True, found=found)
    return found
