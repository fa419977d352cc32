"""The tools: what an agent may ask. All of them only read."""

from contextlib import suppress
from typing import Annotated, Final, Literal, TypeAlias

from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, TextContent
from pydantic import Field

from hedgerow.common.errors import ForbiddenError, HedgerowError, InsufficientCoverageError
from hedgerow.gateway.client import AsyncClient, Hybrid, SearchOptions, VectorQuery
from hedgerow.gateway.mcp.answers import (
    Found,
    OneDocument,
    State,
    document_text,
    found,
    one_document,
    search_text,
    state,
    state_text,
    vector_fields,
)
from hedgerow.gateway.mcp.limits import Limits
from hedgerow.gateway.shapes.status import StatusAnswer

_DEFAULT_HITS: Final = 5

Ranking: TypeAlias = Literal["words", "vector", "hybrid"]

Collection = Annotated[str, Field(description="The collection's name; `status` lists them.")]


class Tools:
    """The tools of one server."""

    def __init__(self, client: AsyncClient, limits: Limits) -> None:
        """Ask through `client`, within the limits."""
        self._client = client
        self._limits = limits

    async def search(
        self,
        collection: Collection,
        query: Annotated[
            str,
            Field(
                description='Words, a "phrase", field:word, +required, -excluded; * for all '
                "documents. A document matches with any of the words; those with more of them, and "
                "with rarer ones, come first."
            ),
        ],
        k: Annotated[int, Field(ge=1, description="Most hits.")] = _DEFAULT_HITS,
        filter: Annotated[  # noqa: A002 - the word of the interface
            str,
            Field(
                description="What hits must match too, without effect on their order: "
                'brand:"acme" AND price:[10 TO 20].'
            ),
        ] = "",
        deadline_ms: Annotated[
            float | None,
            Field(gt=0, description="Time for the search, in ms; the answer comes by then."),
        ] = None,
        ranking: Annotated[
            Ranking,
            Field(
                description="By what documents are found and ranked. words: those of the query. "
                "vector: the meaning of the query as a whole, made into a vector; write it as "
                "plain text. hybrid: both, which finds more, and is better for questions and "
                "descriptions. `status` lists the rankings of each collection."
            ),
        ] = "words",
        vector_field: Annotated[
            str,
            Field(
                description="With vector and hybrid: the field of the vectors, if the collection "
                "has several."
            ),
        ] = "",
    ) -> Annotated[CallToolResult, Found]:
        """Search a collection of documents; the best come first.

        The answer comes by its deadline, with what was found until then. If `partial` is true, a
        part of the documents was not searched, and `note` says what is missing: then the absence
        of a document means nothing.
        """
        self._check(collection)
        limits = self._limits
        try:
            options: SearchOptions = {
                **await self._ranked_by(ranking, vector_field, collection),
                "k": min(k, limits.max_hits),
                "filter": filter or None,
                "deadline_ms": min(deadline_ms or limits.deadline_ms, limits.max_deadline_ms),
            }
            answer = await self._client.search(collection, query, **options)
        except InsufficientCoverageError as error:
            raise ToolError(
                f"no shard has answered, so nothing is known of what matches ({error})"
            ) from error
        except HedgerowError as error:
            raise ToolError(str(error)) from error
        structured = found(answer, limits)
        return _result(search_text(structured), structured)

    async def get(
        self,
        collection: Collection,
        id: Annotated[str, Field(description="The document's id.")],  # noqa: A002 - the word of the interface
    ) -> Annotated[CallToolResult, OneDocument]:
        """Read one document by its id, with all of its stored fields."""
        self._check(collection)
        try:
            document = await self._client.get_document(
                collection, id, deadline_ms=self._limits.deadline_ms
            )
        except HedgerowError as error:
            raise ToolError(str(error)) from error
        structured = one_document(collection, id, document, self._limits)
        return _result(document_text(structured), structured)

    async def status(self) -> Annotated[CallToolResult, State]:
        """List the collections with their fields, and say whether all shards can be asked now."""
        status: StatusAnswer | None = None
        try:
            collections = await self._client.list_collections()
            with suppress(ForbiddenError):  # a key without the right `admin` may still search
                status = await self._client.status()
        except HedgerowError as error:
            raise ToolError(str(error)) from error
        structured = state(collections, status, self._limits)
        return _result(state_text(structured), structured)

    async def _ranked_by(
        self, ranking: Ranking, vector_field: str, collection: str
    ) -> SearchOptions:
        """The options of a search that ranks so.

        Raises:
            ToolError: a vector field must be named, or has been in vain.
        """
        if ranking == "words":
            if vector_field:
                raise ToolError("vector_field: does not apply to the ranking by words")
            return {}
        if not vector_field and ranking == "vector":
            fields = vector_fields(await self._client.get_collection(collection))
            if len(fields) != 1:
                there = f"there are {', '.join(fields)}" if fields else "there is none"
                raise ToolError(f"vector_field: name one of the collection's; {there}")
            vector_field = fields[0]
        wanted: SearchOptions = {"vector": VectorQuery(vector_field)} if vector_field else {}
        return {**wanted, "hybrid": Hybrid()} if ranking == "hybrid" else wanted

    def _check(self, collection: str) -> None:
        if not self._limits.is_allowed(collection):
            allowed = ", ".join(self._limits.collections)
            raise ToolError(f"collection: only {allowed} can be read here")


def _result(text: str, structured: Found | OneDocument | State) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=dict(structured)
    )
