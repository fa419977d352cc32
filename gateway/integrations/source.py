"""A collection as a source of passages, for blocking code and for asyncio."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hedgerow.gateway.client import AsyncClient, Client
from hedgerow.gateway.client.link import DEFAULT_URL, Verify
from hedgerow.gateway.integrations.passages import Passage, passages_of
from hedgerow.gateway.shapes.answer import SearchAnswer

DEFAULT_K: Final = 4


@dataclass(slots=True)
class Source:
    """A collection that a retriever searches.

    Attributes:
        collection: its name.
        client: asks from blocking code.
        async_client: asks from asyncio, on its own event loop; if None, each search makes one, with
            `url`, `token` and `verify`.
        url: of the gateway.
        token: a key or token, if the gateway requires one.
        verify: how the certificate of an https URL is checked, as `Client` takes it.
        options: the options of every search, as `Client.search` takes them.
        content_fields: the fields that are a document's text.
        allow_empty_partial: whether a partial answer without a hit is an empty list, instead of an
            error.
    """

    collection: str
    client: Client
    async_client: AsyncClient | None = None
    url: str = DEFAULT_URL
    token: str | None = None
    verify: Verify = True
    options: Mapping[str, Any] = field(default_factory=dict)
    content_fields: Sequence[str] = ()
    allow_empty_partial: bool = False

    def search(self, query: str, **options: Any) -> list[Passage]:
        """Search; `options` go before those of the source.

        Raises:
            InsufficientCoverageError: the answer is partial and has no hit, or covers less than
                `minimum_coverage`.
            HedgerowError: as `Client.search`.
        """
        answer = self.client.search(self.collection, query, **{**self.options, **options})
        return self._passages(answer)

    async def asearch(self, query: str, **options: Any) -> list[Passage]:
        """As `search`, on an event loop."""
        if self.async_client is not None:
            return await self._asearch_by(self.async_client, query, options)
        async with AsyncClient(self.url, self.token, verify=self.verify) as client:
            return await self._asearch_by(client, query, options)

    async def _asearch_by(
        self, client: AsyncClient, query: str, options: Mapping[str, Any]
    ) -> list[Passage]:
        answer = await client.search(self.collection, query, **{**self.options, **options})
        return self._passages(answer)

    def _passages(self, answer: SearchAnswer) -> list[Passage]:
        return passages_of(
            answer,
            self.collection,
            self.content_fields,
            allow_empty_partial=self.allow_empty_partial,
        )
