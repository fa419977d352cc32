"""Pages one after another: where the next one begins, and what can be promised of them all."""

from collections.abc import Sequence
from typing import Final

from hedgerow.common.errors import BadRequestError
from hedgerow.common.wire.messages import SearchBody
from hedgerow.common.wire.search_options import After
from hedgerow.gateway.search.options.cursor import Cursor, CursorSigner, ranking_of
from hedgerow.gateway.search.result import Hit
from hedgerow.gateway.shapes.sorting import NextPage

PARTIAL: Final = (
    "A page does not reflect all shards, so documents of theirs that come before its last hit may "
    "be on no page."
)
CHANGED: Final = (
    "Scores have changed since an earlier page, since documents or term statistics have, so that a "
    "document may be on two pages, or on none. In the order by a field this cannot happen."
)


class Paging:
    """One page of a search that is read page by page."""

    def __init__(self, signer: CursorSigner, search: bytes, before: Cursor | None) -> None:
        """Continue after `before`; None for the first page.

        Args:
            signer: signs the cursor of the next page.
            search: fingerprint of the search.
            before: where the last page ended.

        Raises:
            BadRequestError: the cursor belongs to another search.
        """
        if before is not None and before.search != search:
            raise BadRequestError(
                "search_after",
                "is the cursor of another search: only k, fields, facets and deadline may differ",
            )
        self._signer = signer
        self._search = search
        self._before = before

    @property
    def num_before(self) -> int:
        """Hits on the pages before."""
        return 0 if self._before is None else self._before.num_before

    def after(self, num_shards: int) -> After | None:
        """The place after which the shards look; None for the first page."""
        before = self._before
        if before is None:
            return None
        return After(before.values, before.id, before.num_before // max(num_shards, 1))

    def next_page(
        self,
        hits: Sequence[Hit],
        k: int,
        bodies: Sequence[tuple[int, SearchBody]],
        *,
        is_full: bool,
    ) -> NextPage:
        """Where the next page begins.

        Args:
            hits: this page's.
            k: how many were asked for.
            bodies: shard and its reply, for each that has answered.
            is_full: whether all shards have.
        """
        before = self._before
        is_partial = not is_full or (before is not None and before.is_partial)
        ranking = 0
        if is_full:
            ranking = ranking_of(
                {shard: body.extras.ranking for shard, body in bodies if body.extras is not None}
            )
        has_changed = before is not None and (
            before.has_changed or bool(before.ranking and ranking and before.ranking != ranking)
        )
        reasons = [PARTIAL] if is_partial else []
        reasons += [CHANGED] if has_changed else []
        cursor = None
        if len(hits) >= k:
            last = hits[-1]
            cursor = self._signer.sign(
                Cursor(
                    self._search,
                    last.sort or (last.score,),
                    last.id,
                    self.num_before + len(hits),
                    ranking,
                    is_partial,
                    has_changed,
                )
            )
        return NextPage(cursor, not reasons, reasons)
