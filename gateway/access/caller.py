"""The caller of a request: a name and rights."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hedgerow.common.errors import ForbiddenError


class Right(StrEnum):
    """What a caller may do; docs/http.md says which right each route needs."""

    SEARCH = "search"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request, and its rights.

    Attributes:
        name: the name of the key, or a name that no key can have.
        rights: its rights.
        collections: the collections that it may use; None for all, and the cluster as a whole.
        share: largest share of the admission limit that it may have in flight, 0 to 1.
    """

    name: str
    rights: frozenset[Right] = frozenset(Right)
    collections: frozenset[str] | None = None
    share: float = 1.0

    def check(self, right: Right, collection: str | None = None) -> None:
        """Check that the caller has a right.

        Args:
            right: the right that is needed.
            collection: the collection concerned; None for the cluster as a whole.

        Raises:
            ForbiddenError: names the right or the collection that the caller lacks.
        """
        if right not in self.rights:
            raise ForbiddenError(f"key {self.name!r} lacks the right {right.value!r}")
        if self.collections is None or collection in self.collections:
            return
        if collection is None:
            raise ForbiddenError(
                f"key {self.name!r} is restricted to some collections; this concerns the cluster"
            )
        raise ForbiddenError(f"key {self.name!r} may not use collection {collection!r}")

    def party(self, peer: str) -> str:
        """Return the party to which the caller belongs; parties share the queries in flight.

        Each key is a party. Callers without a key are distinguished by their addresses.
        """
        return self.name if self.is_key else f"{ADDRESS}{peer}"

    @property
    def is_key(self) -> bool:
        """Whether the caller has a key."""
        return self.name not in _SHARED

    def sees(self, collection: str) -> bool:
        """Return whether the caller's list of collections contains this one."""
        return self.collections is None or collection in self.collections


ANONYMOUS: Final = Caller("")
TOKEN_HOLDER: Final = Caller("token")
_SHARED: Final = (ANONYMOUS.name, TOKEN_HOLDER.name)  # names that independent callers share
ADDRESS: Final = "@"  # prefix of an address as the name of a party; no key's name begins with it
