"""The caller of a request: a name and rights."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hedgerow.common.errors import ForbiddenError


class Right(StrEnum):
    """What a caller may do; docs/http.md says which right each route requires."""

    SEARCH = "search"
    WRITE = "write"
    ADMIN = "admin"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request, and its rights.

    Attributes:
        name: the name of the key, or a name that no key can have.
        rights: what it may do.
        collections: those that it may use; None for all of them, and the cluster as a whole.
        share: largest share of the admission limit that it may have in flight, 0 to 1.
    """

    name: str
    rights: frozenset[Right] = frozenset(Right)
    collections: frozenset[str] | None = None
    share: float = 1.0

    def check(
        self, right: Right, collection: str | None = None, real_name: str | None = None
    ) -> None:
        """Make sure that the caller may do something.

        Args:
            right: the required right.
            collection: the collection concerned, by the name that the caller gave; None for the
                cluster as a whole.
            real_name: the collection's own name, which decides, if that was an alias.

        Raises:
            ForbiddenError: names the right or the collection that the caller lacks.
        """
        if right not in self.rights:
            raise ForbiddenError(f"key {self.name!r} lacks the right {right.value!r}")
        real_name = collection if real_name is None else real_name
        if self.collections is None or real_name in self.collections:
            return
        if collection is None:
            raise ForbiddenError(
                f"key {self.name!r} is restricted to some collections; this concerns the cluster"
            )
        raise ForbiddenError(f"key {self.name!r} may not use collection {collection!r}")

    def party(self, peer: str) -> str:
        """The party that shares the queries in flight with other parties.

        Each key is a party. Callers without a key are distinguished by their addresses.
        """
        name = self.name
        return f"{ADDRESS}{peer}" if name in _SHARED else name

    @property
    def is_key(self) -> bool:
        """Whether the caller has a key."""
        return self.name not in _SHARED

    def sees(self, collection: str) -> bool:
        """Whether a list of collections shows this one to the caller."""
        return self.collections is None or collection in self.collections


ANONYMOUS: Final = Caller("")
TOKEN_HOLDER: Final = Caller("token")
_SHARED: Final = (ANONYMOUS.name, TOKEN_HOLDER.name)  # by callers independent of each other
ADDRESS: Final = "@"  # before the address that names a party; no key's name begins with it
