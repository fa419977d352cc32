"""A retriever of LangChain over a collection (extra `langchain`).

retriever = HedgerowRetriever(collection="shop", k=4, deadline_ms=300)
for document in retriever.invoke("desk lamp"):
    print(document.page_content, document.metadata["partial"], document.metadata["coverage"])
"""

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import finalize

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field, PrivateAttr, SecretStr

from hedgerow.gateway.client import AsyncClient, Client
from hedgerow.gateway.client.link import DEFAULT_URL
from hedgerow.gateway.integrations.passages import Passage
from hedgerow.gateway.integrations.source import DEFAULT_K, Source


class HedgerowRetriever(BaseRetriever):
    """Retrieves documents of a collection by their deadline; each says what the answer covers.

    The metadata of a document has its stored fields, and of the answer `partial`, `exact`,
    `coverage`, `outcomes`, `deadline_ms`, `took_ms`, `documents_searched` and `documents_total`,
    with the members of options that were given: `did_you_mean`, `highlights`, `legs` and others. A
    partial answer without any document raises an InsufficientCoverageError, since an empty list
    would say that nothing matches. Keyword arguments of `invoke` are options of that search.
    """

    collection: str
    url: str = DEFAULT_URL
    token: SecretStr | None = None
    verify: bool | str = True
    k: int = Field(default=DEFAULT_K, ge=1)
    deadline_ms: float | None = None
    content_fields: Sequence[str] = ()
    options: Mapping[str, Any] = Field(default_factory=dict)
    allow_empty_partial: bool = False
    client: Client | None = Field(default=None, exclude=True)
    async_client: AsyncClient | None = Field(default=None, exclude=True)

    _source: Source = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Prepare to search; nothing is sent yet."""
        super().model_post_init(context)
        token = self.token.get_secret_value() if self.token else None
        client = self.client
        if client is None:
            client = Client(self.url, token, verify=self.verify)
            finalize(self, client.close)
        self._source = Source(
            self.collection,
            client,
            self.async_client,
            url=self.url,
            token=token,
            verify=self.verify,
            options={**self.options, "k": self.k, "deadline_ms": self.deadline_ms},
            content_fields=self.content_fields,
            allow_empty_partial=self.allow_empty_partial,
        )

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        del run_manager  # the base class reports start, end and errors
        return [_document(one) for one in self._source.search(query, **options)]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        del run_manager  # as above
        return [_document(one) for one in await self._source.asearch(query, **options)]


def _document(passage: Passage) -> Document:
    return Document(id=passage.id, page_content=passage.text, metadata=passage.metadata)
