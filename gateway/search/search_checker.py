"""Checks searches against what their collection has, and what the live workers can do."""

from collections.abc import Callable, Mapping
from typing import Final

from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError
from hedgerow.common.query.synonyms import SynonymRules
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.wire.search_options import SYNONYMS_LEVEL
from hedgerow.gateway.search.options.cursor import CursorSigner
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.search_settings import SearchSettings
from hedgerow.gateway.search.validation import (
    Admitted,
    admit,
    check_highlights_level,
    check_level,
    filled_field,
    filling_warning,
)
from hedgerow.gateway.search.view import View

_OLDER_WORKER: Final = "Synonyms are not found while a worker of an earlier version lives."


def _no_synonyms(_uid: str) -> None:
    """Stands for the synonyms until they are known."""


class SearchChecker:
    """Finds what is wrong with a search before any shard is asked, and what it will cost."""

    def __init__(self, view: View, settings: SearchSettings) -> None:
        """Check by the limits and profiles of `settings`, and the workers of `view`."""
        self._view = view
        self._settings = settings
        self._signer: CursorSigner | None = None
        self._synonyms_of: Callable[[str], SynonymRules | None] = _no_synonyms

    def use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        """From now on, these are the profiles."""
        self._settings = self._settings._replace(profiles=profiles)

    def use_cursor_key(self, key: bytes) -> None:
        """From now on, sign the cursors of pages with this key; without any, refuse them."""
        self._signer = CursorSigner(key)

    def use_synonyms(self, rules_of: Callable[[str], SynonymRules | None]) -> None:
        """From now on, apply the synonyms that this function returns for a collection's uid."""
        self._synonyms_of = rules_of

    def check(self, query: SearchQuery, collection: Collection) -> Admitted:
        """Check a search; nothing is sent.

        Raises:
            BadRequestError: the query cannot be answered by any shard.
        """
        settings = self._settings
        if query.offset and query.num_ranked > settings.gateway.max_k:
            raise BadRequestError(
                "offset", f"and k are more than {settings.gateway.max_k} together (gateway.max_k)"
            )
        rules = self._synonyms_of(collection.uid) if query.synonyms else None
        is_known = rules is None or self._view.search_options >= SYNONYMS_LEVEL
        admitted = admit(
            query,
            collection,
            settings.limits,
            settings.profiles,
            self._signer,
            len(self._view.live),
            rules if is_known else None,
        )
        if not is_known:
            admitted = admitted._replace(warnings=(*admitted.warnings, _OLDER_WORKER))
        if admitted.options is not None:
            check_level(admitted.options, self._view.search_options)
        if admitted.wanted.highlights is not None:
            check_highlights_level(admitted.wanted, self._view.search_options)
        if collection.revision and (filling := self._view.filling_of(collection)):
            return admitted._replace(
                warnings=(*admitted.warnings, filling_warning(filling)),
                filling=filled_field(query, admitted.options, collection, filling),
            )
        return admitted
