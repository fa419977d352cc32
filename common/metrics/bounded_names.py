"""Keeps the number of values of a label within a bound."""

from collections.abc import Collection
from typing import Final

OTHER: Final = "other"


class BoundedNames:
    """The names that have series of their own: the first to be used, up to a number."""

    __slots__ = ("_known", "_most")

    def __init__(self, most: int) -> None:
        """Allow `most` names besides `other`."""
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """The name itself if it has, or may have, series of its own; else `other`."""
        if name in self._known:
            return name
        if len(self._known) < self._most:
            self._known.add(name)
            return name
        return OTHER

    def keep(self, names: Collection[str]) -> set[str]:
        """Forget the names that are not among `names`; returns those that were forgotten."""
        gone = self._known.difference(names)
        self._known -= gone
        return gone
