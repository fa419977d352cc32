"""The Python client of a gateway: `Client` for blocking code, `AsyncClient` for asyncio.

    with Client("http://127.0.0.1:8080") as client:
        answer = client.search("shop", "desk lamp", deadline_ms=300)
        print(answer.coverage.fraction, [hit.id for hit in answer.hits])

Answers are typed and frozen, with the names of the JSON (docs/http.md); errors are those of
common.errors. docs/client.md describes it. It imports no server code: msgspec, and httptools for
HTTP. Open `blocking` first, then `calls`, which both clients share.
"""

from typing import TYPE_CHECKING, Any

from hedgerow.gateway.client.batch_calls import BatchSearch
from hedgerow.gateway.client.blocking import Client
from hedgerow.gateway.client.calls import Call, Definition, SearchOptions, VersionedDocument
from hedgerow.gateway.client.ndjson import Document
from hedgerow.gateway.client.reply import Reply
from hedgerow.gateway.shapes.alias import AliasAnswer
from hedgerow.gateway.shapes.answer import (
    Coverage,
    Hit,
    Leg,
    LegHit,
    SearchAnswer,
    ShardDetail,
    Shards,
)
from hedgerow.gateway.shapes.collection import (
    CollectionAnswer,
    CurveAnswer,
    DefinedVector,
    FieldWarning,
    Filling,
    InferredField,
    LoadAnswer,
    OptimiseAnswer,
    RejectedLine,
    SetAsideDocument,
    WeightedField,
)
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryAnswer, MissingShard
from hedgerow.gateway.shapes.expiry import ExpiryAnswer
from hedgerow.gateway.shapes.facets import (
    Facet,
    FacetAnswer,
    FacetBucket,
    FacetRange,
    FacetStats,
)
from hedgerow.gateway.shapes.highlighting import Highlight
from hedgerow.gateway.shapes.hybrid import Hybrid, LegMinimum, LegWait, LegWeights
from hedgerow.gateway.shapes.more_like import MoreLike
from hedgerow.gateway.shapes.operations import QuarantinedQuery, ReloadAnswer, SnapshotAnswer
from hedgerow.gateway.shapes.sorting import NextPage, SortBy
from hedgerow.gateway.shapes.status import StatusAnswer
from hedgerow.gateway.shapes.suggest import SuggestAnswer, Suggestion
from hedgerow.gateway.shapes.synonyms import SynonymsAnswer
from hedgerow.gateway.shapes.vector import VectorQuery

if TYPE_CHECKING:
    from hedgerow.gateway.client.asynchronous import AsyncClient

__all__ = [
    "AliasAnswer",
    "AsyncClient",
    "BatchSearch",
    "Call",
    "Client",
    "CollectionAnswer",
    "Coverage",
    "CurveAnswer",
    "DefinedVector",
    "Definition",
    "DeleteByQueryAnswer",
    "Document",
    "ExpiryAnswer",
    "Facet",
    "FacetAnswer",
    "FacetBucket",
    "FacetRange",
    "FacetStats",
    "FieldWarning",
    "Filling",
    "Highlight",
    "Hit",
    "Hybrid",
    "InferredField",
    "Leg",
    "LegHit",
    "LegMinimum",
    "LegWait",
    "LegWeights",
    "LoadAnswer",
    "MissingShard",
    "MoreLike",
    "NextPage",
    "OptimiseAnswer",
    "QuarantinedQuery",
    "RejectedLine",
    "ReloadAnswer",
    "Reply",
    "SearchAnswer",
    "SearchOptions",
    "SetAsideDocument",
    "ShardDetail",
    "Shards",
    "SnapshotAnswer",
    "SortBy",
    "StatusAnswer",
    "SuggestAnswer",
    "Suggestion",
    "SynonymsAnswer",
    "VectorQuery",
    "VersionedDocument",
    "WeightedField",
]


def __getattr__(name: str) -> Any:
    """Import `AsyncClient` when it is first used (PEP 562): asyncio takes commands 10 ms."""
    if name != "AsyncClient":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hedgerow.gateway.client.asynchronous import AsyncClient  # noqa: PLC0415 - as above

    globals()[name] = AsyncClient
    return AsyncClient
