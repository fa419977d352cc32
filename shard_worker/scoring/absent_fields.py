"""Names in the log the fields that a rank profile reads and that no document has.

Most are misspelt. The gateway warns of a name that resembles a declared field; but a profile may
read fields that are only stored, which are declared nowhere, so that only the documents tell.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import structlog

ENOUGH: Final = 20  # candidates, of one search or of several
_MOST_PAIRS: Final = 1024  # of profiles and collections

_log = structlog.get_logger()


class _Watch:
    """One profile's fields in one collection, until all were seen or enough was looked at."""

    __slots__ = ("num_left", "unseen")

    def __init__(self, fields: Iterable[str]) -> None:
        self.unseen = set(fields)
        self.num_left = ENOUGH


class AbsentFields:
    """What one scorer has seen of the fields that its profiles read."""

    def __init__(self) -> None:
        """Nothing has been seen yet."""
        self._watches: dict[tuple[str, str], _Watch | None] = {}

    def look(
        self, profile: str, fields: Iterable[str], uid: str, candidates: list[dict[str, Any]]
    ) -> None:
        """Look at the candidates of a search, as long as it is of use; warns once.

        Args:
            profile: name of the rank profile.
            fields: what it reads.
            uid: the collection's unique id.
            candidates: documents with those of the fields that they have.
        """
        key = profile, uid
        if key not in self._watches:
            if len(self._watches) >= _MOST_PAIRS:
                self._watches.clear()
            self._watches[key] = _Watch(fields)
        watch = self._watches[key]
        if watch is not None and _is_over(watch, candidates):
            self._watches[key] = None
            if watch.unseen:
                _log.warning(
                    "rank_profile_fields_absent",
                    rank_profile=profile,
                    fields=sorted(watch.unseen),
                    collection_uid=uid,
                    candidates=ENOUGH,
                )


def _is_over(watch: _Watch, candidates: Iterable[Mapping[str, Any]]) -> bool:
    for candidate in candidates:
        watch.unseen.difference_update(candidate)
        watch.num_left -= 1
        if not watch.unseen or not watch.num_left:
            return True
    return False
