"""Every request to a gateway as a value: what is sent, and how its reply is read. No I/O.

Both clients send these, so what a request looks like and what its answer means is written once.
A caller that wants a reply as it came, before it is read, sends one by `Client.exchange`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

import msgspec

from hedgerow.common.document_ids import check_address_id
from hedgerow.gateway.client.ndjson import Document, document_body
from hedgerow.gateway.client.reply import Reply
from hedgerow.gateway.shapes.answer import SearchAnswer
from hedgerow.gateway.shapes.collection import (
    CollectionAnswer,
    CollectionsAnswer,
    CurveAnswer,
    LoadAnswer,
    OptimiseAnswer,
    Wait,
)
from hedgerow.gateway.shapes.operations import (
    ByHand,
    QuarantineAnswer,
    QuarantinedQuery,
    SnapshotAnswer,
)
from hedgerow.gateway.shapes.status import StatusAnswer

# How long a gateway may take by its default settings, where the request does not say it.
MAX_DEADLINE_S: Final = 60.0
WRITE_TIMEOUT_S: Final = 60.0
_ANY_LENGTH: Final = 1 << 31  # in bytes; how long an id may be is a setting of the gateway

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SearchOptions(TypedDict, total=False):
    """What a search may say beside the query; the gateway decides what is left out, or None.

    Attributes:
        k: most hits wanted.
        deadline_ms: the answer leaves the gateway within so long, in ms.
        rank_profile: name of a configured rank profile.
        filter: query that hits must match too, without a say in their score.
        fields: fields wanted in each hit: names, True (all), False (none).
        minimum_coverage: least share of the documents that the answer must reflect, 0 to 1.
        wait_for: share of the documents that is enough: once it is covered, the rest is waited for
            only a part of the time left.
        explain: whether every shard is detailed, or only those not ok.
        syntax: whether an error in the query is repaired, or refused.
        priority: batch is refused first when there is too much to do.
    """

    k: int | None
    deadline_ms: float | None
    rank_profile: str | None
    filter: str | None
    fields: bool | Sequence[str] | None
    minimum_coverage: float | None
    wait_for: float | None
    explain: bool | None
    syntax: Literal["lenient", "strict"] | None
    priority: Literal["interactive", "batch"] | None


class Definition(TypedDict, total=False):
    """What a new collection is; the gateway decides what is left out, or None.

    Attributes:
        fields: field → type (text, keyword, integer, float, boolean, date), or for a text
            {"type": "text", "weight": 3}; inferred from the first documents if left out.
        rank_profile: that of a search which names none.
        language: of the text, or "none".
    """

    fields: Mapping[str, str | Mapping[str, Any]] | None
    rank_profile: str | None
    language: str | None


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One request.

    Attributes:
        read: makes the answer of its reply, or raises what its problem stands for.
        takes_s: how long the gateway may take, in s; a client waits for its margin more.
        body: JSON, or NDJSON that each client makes of its documents; None for no body.
    """

    method: str
    path: str
    read: Callable[[Reply], T_co]
    takes_s: float = 0.0
    params: Mapping[str, str] | None = None
    body: bytes | None = None
    media_type: str = "application/json"


def search(collection: str, query: str, options: SearchOptions) -> Call[SearchAnswer]:
    """Search; a partial answer is an answer."""
    body = {"query": query, **_given(options)}
    return Call(
        "POST",
        f"{_collection(collection)}/search",
        _answer(SearchAnswer),
        _deadline_s(options.get("deadline_ms")),
        body=msgspec.json.encode(body),
    )


def index(collection: str, wait: Wait, takes_s: float) -> Call[LoadAnswer]:
    """Load documents, which are the body that the client adds."""
    return Call(
        "POST",
        f"{_collection(collection)}/documents",
        _answer(LoadAnswer),
        takes_s,
        {"wait": wait},
        media_type="application/x-ndjson",
    )


def get_document(
    collection: str, document_id: str, deadline_ms: float | None
) -> Call[dict[str, Any]]:
    """Read a document."""
    return Call(
        "GET",
        _document(collection, document_id),
        Reply.json,
        _deadline_s(deadline_ms),
        _deadline(deadline_ms),
    )


def put_document(
    collection: str, document_id: str, document: Document, wait: Wait
) -> Call[LoadAnswer]:
    """Add or replace a document."""
    return Call(
        "PUT",
        _document(collection, document_id),
        _answer(LoadAnswer),
        WRITE_TIMEOUT_S,
        {"wait": wait},
        body=document_body(document),
    )


def delete_document(collection: str, document_id: str, wait: Wait) -> Call[None]:
    """Remove a document."""
    return Call(
        "DELETE",
        _document(collection, document_id),
        Reply.nothing,
        WRITE_TIMEOUT_S,
        {"wait": wait},
    )


def put_collection(name: str, definition: Definition) -> Call[CollectionAnswer]:
    """Create a collection, or make sure that it is so defined."""
    return Call(
        "PUT",
        _collection(name),
        _answer(CollectionAnswer),
        body=msgspec.json.encode(_given(definition)),
    )


def get_collection(name: str) -> Call[CollectionAnswer]:
    """Describe a collection."""
    return Call("GET", _collection(name), _answer(CollectionAnswer))


def list_collections() -> Call[list[CollectionAnswer]]:
    """Describe all collections."""
    return Call("GET", "/v1/collections", lambda reply: reply.typed(CollectionsAnswer).collections)


def delete_collection(name: str) -> Call[None]:
    """Remove a collection with its documents."""
    return Call("DELETE", _collection(name), Reply.nothing)


def coverage_curve(collection: str, deadline_ms: float | None = None) -> Call[CurveAnswer]:
    """Tell what coverage queries reach by which deadline."""
    return Call(
        "GET",
        f"{_collection(collection)}/coverage-curve",
        _answer(CurveAnswer),
        params=_deadline(deadline_ms),
    )


def status() -> Call[StatusAnswer]:
    """Tell the state of the cluster."""
    return Call("GET", "/v1/status", _answer(StatusAnswer))


def is_alive() -> Call[bool]:
    """Tell whether the process lives."""
    return Call("GET", "/healthz", _yes_or_no)


def is_ready() -> Call[bool]:
    """Tell whether Redis answers and a shard is live."""
    return Call("GET", "/readyz", _yes_or_no)


def set_breaker(shard: int, state: ByHand) -> Call[None]:
    """Set a shard's breaker by hand."""
    return Call(
        "POST",
        f"/v1/shards/{shard}/breaker",
        Reply.nothing,
        body=msgspec.json.encode({"state": state}),
    )


def create_snapshots() -> Call[SnapshotAnswer]:
    """Ask for a snapshot of every shard."""
    return Call("POST", "/v1/snapshots", _answer(SnapshotAnswer))


def optimise(collection: str) -> Call[OptimiseAnswer]:
    """Ask for the optimising of a collection's text indexes."""
    return Call("POST", f"{_collection(collection)}/optimise", _answer(OptimiseAnswer))


def list_quarantine() -> Call[list[QuarantinedQuery]]:
    """List the queries that have killed scorers."""
    return Call("GET", "/v1/quarantine", lambda reply: reply.typed(QuarantineAnswer).quarantine)


def lift_quarantine(fingerprint: str) -> Call[None]:
    """Let a query run again."""
    return Call("DELETE", f"/v1/quarantine/{_segment(fingerprint)}", Reply.nothing)


def _answer(kind: type[T]) -> Callable[[Reply], T]:
    return lambda reply: reply.typed(kind)


def _yes_or_no(reply: Reply) -> bool:
    if reply.status != 503:
        reply.nothing()
    return reply.is_success


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _deadline(deadline_ms: float | None) -> dict[str, str] | None:
    return None if deadline_ms is None else {"deadline_ms": str(deadline_ms)}


def _deadline_s(deadline_ms: float | None) -> float:
    return MAX_DEADLINE_S if deadline_ms is None else deadline_ms / 1000


def _collection(name: str) -> str:
    return f"/v1/collections/{_segment(name)}"


def _document(collection: str, document_id: str) -> str:
    """The path of a document.

    Raises:
        BadRequestError: no document can have that id. It is not sent, since ".." might be resolved
            on the way, and the path of a document be that of its collection.
    """
    check_address_id(document_id, _ANY_LENGTH)
    return f"{_collection(collection)}/documents/{_segment(document_id)}"


def _segment(name: str) -> str:
    """Escape a name; as it is, one of dots alone would be the folder above, and ask for that."""
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")
