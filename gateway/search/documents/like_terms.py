"""Reads the words that tell most about a document, from a shard that owns it."""

from typing import NamedTuple

from hedgerow.common.collection import Collection
from hedgerow.common.errors import NotFoundError, UnavailableError
from hedgerow.common.outcome import Outcome
from hedgerow.common.partition import shard_of
from hedgerow.common.wire.search_options import LikeTerms, WantedTerms
from hedgerow.gateway.search.documents.fetch import Fetcher, Refused
from hedgerow.gateway.search.view import View


class Like(NamedTuple):
    """A document that others are to be like.

    Attributes:
        collection: its collection.
        id: the document's id.
        party: who asks, by `Caller.party`.
    """

    collection: Collection
    id: str
    party: str


class LikeTermsReader:
    """Reads the most telling words of documents."""

    def __init__(self, fetcher: Fetcher, view: View) -> None:
        """Read through `fetcher`."""
        self._fetcher = fetcher
        self._view = view

    async def read(self, like: Like, wanted: WantedTerms, deadline: float) -> LikeTerms:
        """Read the words of one document by `deadline`, on the loop's clock.

        Raises:
            NotFoundError: there is no such document.
            UnavailableError: its shard has not answered.
        """
        live = self._view.live
        shard = shard_of(like.id, len(live))
        document = f"the document {like.id!r}"
        if not live[shard]:
            raise UnavailableError(f"shard {shard}, which has {document}, has no live worker")
        lease = self._fetcher.memory.lease(like.party)
        results = await self._fetcher.read(
            like.collection.uid, {shard: [like.id]}, [], "", deadline, lease, terms=wanted
        )
        part = results[shard]
        if part.outcome is not Outcome.OK:
            raise UnavailableError(f"shard {shard}, which has {document}: {part.reason}")
        if isinstance(part.body, Refused):
            raise UnavailableError(part.body.reason)
        match part.body.documents:
            case [bytes()]:
                return LikeTerms(like.id, part.body.terms)
            case [None]:
                raise NotFoundError(f"there is no document {like.id!r} in {like.collection.name!r}")
        raise UnavailableError(f"shard {shard}, which has {document}, has not read it in time")
