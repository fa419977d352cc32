"""Every request to a gateway as a value: its content, and how to read its reply. No I/O.

Both clients send these, so each request and the meaning of its answer is defined once. To get a raw
reply, send a call with `Client.exchange`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, NamedTuple, TypedDict, TypeVar
from urllib.parse import quote

import msgspec

from hedgerow.common.document_ids import check_address_id
from hedgerow.gateway.client.ndjson import Document, document_body
from hedgerow.gateway.client.reply import Reply
from hedgerow.gateway.shapes.alias import (
    AliasAnswer,
    AliasBody,
    AliasChange,
    AliasChanges,
    AliasesAnswer,
)
from hedgerow.gateway.shapes.answer import SearchAnswer
from hedgerow.gateway.shapes.collection import (
    CollectionAnswer,
    CollectionsAnswer,
    CurveAnswer,
    LoadAnswer,
    OptimiseAnswer,
    Wait,
)
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryAnswer, DeleteByQueryBody
from hedgerow.gateway.shapes.expiry import ExpiryAnswer, ExpiryBody
from hedgerow.gateway.shapes.facets import Facet
from hedgerow.gateway.shapes.operations import (
    ByHand,
    QuarantineAnswer,
    QuarantinedQuery,
    ReloadAnswer,
    SnapshotAnswer,
)
from hedgerow.gateway.shapes.placement import PlacementAnswer, RebalanceAnswer
from hedgerow.gateway.shapes.sorting import SortBy
from hedgerow.gateway.shapes.split import SplitAnswer
from hedgerow.gateway.shapes.status import StatusAnswer
from hedgerow.gateway.shapes.suggest import SuggestAnswer

# How long a gateway may take by its default settings, unless the request says.
MAX_DEADLINE_S: Final = 60.0
WRITE_TIMEOUT_S: Final = 60.0
RELOAD_TIMEOUT_S: Final = 60.0  # above the gateway's own longest wait for its workers
_ANY_LENGTH: Final = 1 << 31  # in bytes; the limit is a setting of the gateway

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SearchOptions(TypedDict, total=False):
    """The options of a search; the gateway has defaults for those left out, or None.

    Attributes:
        k: maximum number of hits.
        deadline_ms: time within which the answer leaves the gateway, in ms.
        rank_profile: name of a configured rank profile.
        filter: query that hits must match too, without effect on their score.
        fields: fields to return for each hit: names, True (all), False (none).
        minimum_coverage: smallest share of the documents that the answer must reflect, 0 to 1.
        wait_for: share of the documents that suffices: once it is covered, the gateway waits for
            the rest only during a part of the remaining time.
        explain: whether to detail every shard, or only those not ok.
        syntax: whether to repair an error in the query, or to refuse it.
        priority: under overload, batch queries are refused first.
        facets: counts of all matches: field → `Facet`, or the same as a dict.
        sort: the order of the hits: field names, or field → "asc", "desc" or a `SortBy`; "_score"
            may be the last.
        search_after: the cursor of the page before; "" for the first page, to get one.
        offset: hits to leave out at the beginning.
        group_by: a keyword field, to get only the best hit of each of its values.
        typos: whether words may be misspelt: with auto, by one edit from 5 letters on, by two
            from 9.
        prefix: whether the query's last word may be the beginning of another.
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
    facets: Mapping[str, Facet | Mapping[str, Any]] | None
    sort: Sequence[str | Mapping[str, Literal["asc", "desc"] | SortBy]] | None
    search_after: str | None
    offset: int | None
    group_by: str | None
    typos: Literal["off", "auto"] | None
    prefix: bool | None


class VersionedDocument(NamedTuple):
    """A document, and its version.

    Attributes:
        document: as it was loaded.
        version: for `if_version` of a write; "" from a gateway of an earlier version.
    """

    document: dict[str, Any]
    version: str


class Definition(TypedDict, total=False):
    """The definition of a new collection; the gateway has defaults for what is left out, or None.

    Attributes:
        fields: field → type (text, keyword, integer, float, boolean, date), or for a text field
            {"type": "text", "weight": 3}; inferred from the first documents if left out.
        rank_profile: the profile of searches that name none.
        language: the language of the text, or "none".
        folding: whether accents make no difference to words.
    """

    fields: Mapping[str, str | Mapping[str, Any]] | None
    rank_profile: str | None
    language: str | None
    folding: bool | None


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One request.

    Attributes:
        read: makes the answer from the reply, or raises the problem's error.
        takes_s: how long the gateway may take, in s; a client waits longer by its margin.
        body: JSON; None if there is no body, or if the client adds it.
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
    """Load documents; the client adds the body."""
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


def get_versioned(
    collection: str, document_id: str, deadline_ms: float | None
) -> Call[VersionedDocument]:
    """Read a document with its version."""
    return Call(
        "GET",
        _document(collection, document_id),
        _versioned,
        _deadline_s(deadline_ms),
        _deadline(deadline_ms),
    )


def put_document(
    collection: str,
    document_id: str,
    document: Document,
    wait: Wait,
    if_version: str | None = None,
    request_id: str | None = None,
) -> Call[LoadAnswer]:
    """Add or replace a document."""
    return Call(
        "PUT",
        _document(collection, document_id),
        _answer(LoadAnswer),
        WRITE_TIMEOUT_S,
        _write_parameters(wait, if_version, request_id),
        body=document_body(document),
    )


def patch_document(
    collection: str,
    document_id: str,
    changes: Document,
    wait: Wait,
    if_version: str | None = None,
    request_id: str | None = None,
) -> Call[LoadAnswer]:
    """Merge changes into a document."""
    return Call(
        "PATCH",
        _document(collection, document_id),
        _answer(LoadAnswer),
        WRITE_TIMEOUT_S,
        _write_parameters(wait, if_version, request_id),
        body=document_body(changes),
        media_type="application/merge-patch+json",
    )


def delete_document(
    collection: str,
    document_id: str,
    wait: Wait,
    if_version: str | None = None,
    request_id: str | None = None,
) -> Call[None]:
    """Remove a document."""
    return Call(
        "DELETE",
        _document(collection, document_id),
        Reply.nothing,
        WRITE_TIMEOUT_S,
        _write_parameters(wait, if_version, request_id),
    )


def delete_by_query(collection: str, body: DeleteByQueryBody) -> Call[DeleteByQueryAnswer]:
    """Delete the documents that a query finds."""
    takes_s = WRITE_TIMEOUT_S if body.timeout_ms is None else body.timeout_ms / 1000
    return Call(
        "POST",
        f"{_collection(collection)}/documents:delete",
        _answer(DeleteByQueryAnswer),
        takes_s + WRITE_TIMEOUT_S,  # the last deletions are waited for
        body=msgspec.json.encode(body),
    )


def set_expiry(name: str, field: str) -> Call[ExpiryAnswer]:
    """Have documents expire at the date in a field."""
    body = msgspec.json.encode(ExpiryBody(field))
    return Call("PUT", _expiry(name), _answer(ExpiryAnswer), body=body)


def get_expiry(name: str) -> Call[ExpiryAnswer]:
    """Return by which field documents expire."""
    return Call("GET", _expiry(name), _answer(ExpiryAnswer))


def delete_expiry(name: str) -> Call[None]:
    """Have documents expire no longer."""
    return Call("DELETE", _expiry(name), Reply.nothing)


def put_collection(name: str, definition: Definition) -> Call[CollectionAnswer]:
    """Create a collection; no effect if it exists with the same definition."""
    return Call(
        "PUT",
        _collection(name),
        _answer(CollectionAnswer),
        body=msgspec.json.encode(_given(definition)),
    )


def add_fields(name: str, fields: Mapping[str, str | Mapping[str, Any]]) -> Call[CollectionAnswer]:
    """Add fields to a collection."""
    return Call(
        "PATCH",
        _collection(name),
        _answer(CollectionAnswer),
        body=msgspec.json.encode({"fields": fields}),
    )


def get_collection(name: str) -> Call[CollectionAnswer]:
    """Describe a collection."""
    return Call("GET", _collection(name), _answer(CollectionAnswer))


def list_collections() -> Call[list[CollectionAnswer]]:
    """Describe all collections."""
    return Call("GET", "/v1/collections", lambda reply: reply.typed(CollectionsAnswer).collections)


def list_aliases() -> Call[list[AliasAnswer]]:
    """Return the aliases of collections."""
    return Call("GET", "/v1/aliases", _aliases)


def change_aliases(changes: Mapping[str, str | None]) -> Call[list[AliasAnswer]]:
    """Set and remove aliases in one step."""
    body = AliasChanges([AliasChange(alias, name) for alias, name in changes.items()])
    return Call("POST", "/v1/aliases", _aliases, body=msgspec.json.encode(body))


def get_alias(alias: str) -> Call[AliasAnswer]:
    """Return which collection an alias stands for."""
    return Call("GET", _alias(alias), _answer(AliasAnswer))


def put_alias(alias: str, collection: str) -> Call[AliasAnswer]:
    """Make an alias stand for a collection."""
    body = msgspec.json.encode(AliasBody(collection))
    return Call("PUT", _alias(alias), _answer(AliasAnswer), body=body)


def delete_alias(alias: str) -> Call[None]:
    """Remove an alias."""
    return Call("DELETE", _alias(alias), Reply.nothing)


def delete_collection(name: str) -> Call[None]:
    """Remove a collection with its documents."""
    return Call("DELETE", _collection(name), Reply.nothing)


def coverage_curve(collection: str, deadline_ms: float | None = None) -> Call[CurveAnswer]:
    """Return the coverage that queries reach by each deadline."""
    return Call(
        "GET",
        f"{_collection(collection)}/coverage-curve",
        _answer(CurveAnswer),
        params=_deadline(deadline_ms),
    )


def suggest(
    collection: str, prefix: str, field: str, size: int, deadline_ms: float | None
) -> Call[SuggestAnswer]:
    """Suggest texts of a field for the beginning of a query."""
    return Call(
        "GET",
        f"{_collection(collection)}/suggest",
        _answer(SuggestAnswer),
        _deadline_s(deadline_ms),
        {"prefix": prefix, "field": field, "size": str(size), **(_deadline(deadline_ms) or {})},
    )


def status() -> Call[StatusAnswer]:
    """Return the state of the cluster."""
    return Call("GET", "/v1/status", _answer(StatusAnswer))


def is_alive() -> Call[bool]:
    """Return whether the process lives."""
    return Call("GET", "/healthz", _yes_or_no)


def is_ready() -> Call[bool]:
    """Return whether Redis answers and a shard is live."""
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
    """Ask the workers to optimise a collection's text indexes."""
    return Call("POST", f"{_collection(collection)}/optimise", _answer(OptimiseAnswer))


def reload() -> Call[ReloadAnswer]:
    """Read the rank profiles again."""
    return Call("POST", "/v1/reload", _answer(ReloadAnswer), RELOAD_TIMEOUT_S)


def list_quarantine() -> Call[list[QuarantinedQuery]]:
    """List the queries that have killed scorers."""
    return Call("GET", "/v1/quarantine", lambda reply: reply.typed(QuarantineAnswer).quarantine)


def lift_quarantine(fingerprint: str) -> Call[None]:
    """Take a query out of quarantine."""
    return Call("DELETE", f"/v1/quarantine/{_segment(fingerprint)}", Reply.nothing)


def get_placement() -> Call[PlacementAnswer]:
    """Return which worker should serve which shard, and what moves."""
    return Call("GET", "/v1/placement", _answer(PlacementAnswer))


def drain_worker(worker: str) -> Call[None]:
    """Let other workers take over a worker's shards."""
    return Call("PUT", _draining(worker), Reply.nothing)


def cancel_drain(worker: str) -> Call[None]:
    """Let a worker keep its shards."""
    return Call("DELETE", _draining(worker), Reply.nothing)


def rebalance() -> Call[RebalanceAnswer]:
    """Balance the shards without waiting for lost workers."""
    return Call("POST", "/v1/placement/rebalance", _answer(RebalanceAnswer))


def get_split() -> Call[SplitAnswer]:
    """Return the number of shards, and how far their split is."""
    return Call("GET", "/v1/split", _answer(SplitAnswer))


def begin_split() -> Call[SplitAnswer]:
    """Begin to double the number of shards."""
    return Call("POST", "/v1/split", _answer(SplitAnswer))


def cancel_split() -> Call[SplitAnswer]:
    """Give up the split in progress."""
    return Call("DELETE", "/v1/split", _answer(SplitAnswer))


def _draining(worker: str) -> str:
    return f"/v1/placement/draining/{_segment(worker)}"


def _expiry(name: str) -> str:
    return f"{_collection(name)}/expiry"


def _alias(alias: str) -> str:
    return f"/v1/aliases/{_segment(alias)}"


def _aliases(reply: Reply) -> list[AliasAnswer]:
    return reply.typed(AliasesAnswer).aliases


def _answer(kind: type[T]) -> Callable[[Reply], T]:
    return lambda reply: reply.typed(kind)


def _yes_or_no(reply: Reply) -> bool:
    if reply.status != 503:
        reply.nothing()
    return reply.is_success


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _write_parameters(wait: Wait, if_version: str | None, request_id: str | None) -> dict[str, str]:
    return _given({"wait": wait, "if_version": if_version, "request_id": request_id})


def _versioned(reply: Reply) -> VersionedDocument:
    document = reply.json()
    return VersionedDocument(document, reply.headers.get("etag", "").removeprefix("W/").strip('"'))


def _deadline(deadline_ms: float | None) -> dict[str, str] | None:
    return None if deadline_ms is None else {"deadline_ms": str(deadline_ms)}


def _deadline_s(deadline_ms: float | None) -> float:
    return MAX_DEADLINE_S if deadline_ms is None else deadline_ms / 1000


def _collection(name: str) -> str:
    return f"/v1/collections/{_segment(name)}"


def _document(collection: str, document_id: str) -> str:
    """Return the path of a document.

    Raises:
        BadRequestError: the id is not valid. It must not be sent: if a proxy resolved "..", the
            path of a document would be that of its collection.
    """
    check_address_id(document_id, _ANY_LENGTH)
    return f"{_collection(collection)}/documents/{_segment(document_id)}"


def _segment(name: str) -> str:
    """Escape a name; one of only dots would otherwise mean a parent folder."""
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")
