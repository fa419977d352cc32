"""A retriever of LlamaIndex over a collection (extra `llamaindex`).

retriever = HedgerowRetriever("shop", k=4, deadline_ms=300)
for node in retriever.retrieve("desk lamp"):
    print(node.score, node.text, node.metadata["partial"], node.metadata["coverage"])
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from weakref import finalize

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from hedgerow.gateway.client import AsyncClient, Client
from hedgerow.gateway.client.link import DEFAULT_URL, Verify
from hedgerow.gateway.integrations.passages import ANSWER_KEYS, HIT_KEYS, Passage
from hedgerow.gateway.integrations.source import DEFAULT_K, Source

_FOR_MODELS: Final = frozenset({"partial", "exact", "coverage", "left_out"})


class HedgerowRetriever(BaseRetriever):
    """Retrieves nodes of a collection by their deadline; each says what the answer covers.

    The metadata of a node has the document's stored fields, and of the answer `partial`, `exact`,
    `coverage`, `outcomes`, `deadline_ms`, `took_ms`, `documents_searched` and `documents_total`,
    with the members of options that were given (`did_you_mean`, `highlights`, `legs` and others); a
    model sees the first three of them, and `left_out`. A partial answer without any document raises
    an InsufficientCoverageError, since an empty list would say that nothing matches.
    """

    def __init__(
        self,
        collection: str,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        k: int = DEFAULT_K,
        deadline_ms: float | None = None,
        content_fields: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        allow_empty_partial: bool = False,
        verify: Verify = True,
        client: Client | None = None,
        async_client: AsyncClient | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        """Prepare to search; nothing is sent yet.

        Args:
            collection: the collection's name.
            url: of the gateway.
            token: a key or token, if the gateway requires one.
            k: most nodes.
            deadline_ms: time for a search, in ms; the gateway's default if None.
            content_fields: the fields that are a document's text; the usual names if there are
                none.
            options: further options of every search, as `Client.search` takes them.
            allow_empty_partial: whether a partial answer without a hit is an empty list, instead
                of an error.
            verify: how the certificate of an https URL is checked, as `Client` takes it.
            client: is used instead of one for `url`, and not closed.
            async_client: the same on its event loop; without it, each `aretrieve` connects again.
            callback_manager: of LlamaIndex.
        """
        super().__init__(callback_manager=callback_manager)
        if client is None:
            client = Client(url, token, verify=verify)
            finalize(self, client.close)
        self._source = Source(
            collection,
            client,
            async_client,
            url=url,
            token=token,
            verify=verify,
            options={**(options or {}), "k": k, "deadline_ms": deadline_ms},
            content_fields=content_fields,
            allow_empty_partial=allow_empty_partial,
        )

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [_node(one) for one in self._source.search(query_bundle.query_str)]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [_node(one) for one in await self._source.asearch(query_bundle.query_str)]


def _node(passage: Passage) -> NodeWithScore:
    node = TextNode(
        id_=passage.id,
        text=passage.text,
        metadata=passage.metadata,
        # What an answer covers is no part of what a document means, but a model should know it.
        excluded_embed_metadata_keys=[*ANSWER_KEYS, *HIT_KEYS],
        excluded_llm_metadata_keys=[
            key for key in (*ANSWER_KEYS, *HIT_KEYS) if key not in _FOR_MODELS
        ],
    )
    return NodeWithScore(node=node, score=passage.score)
