"""The messages between gateway and shard worker: MessagePack arrays that begin with a version.

A newer process may append members to a struct; an older one passes over them. So a new member has a
default, and if ignoring it would give a wrong answer, it is sent only to processes whose heartbeats
say that they know it. Any other change is a new version (docs/upgrading.md).

A request has the same bytes for every shard of a query: its queue says which shard is meant.
Replies that are ready together leave a worker as one message. Bodies are packed in the lane that
produced them, and stay opaque to everything between that lane and the merge.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Any

import msgspec
from msgspec.structs import astuple

from hedgerow.common.errors import WireError
from hedgerow.common.wire.packing import (
    MAX_MESSAGE_BYTES,
    UNREADABLE,
    VERSION,
    Array,
    Count,
    Finite,
    check_version,
    encode,
    read,
    read_message,
)
from hedgerow.common.wire.search_options import (
    Highlighting,
    SearchExtras,
    SearchOptions,
    WantedTerms,
)

MAX_ATTACHED_BYTES = 65_536  # the setting limits.max_attached_bytes narrows it


class Kind(IntEnum):
    """What a request asks for."""

    SEARCH = 1
    FETCH = 2


class Status(IntEnum):
    """How a request ended, as its worker reports it."""

    OK = 0
    FAILED = 1
    EXPIRED = 2  # dropped before or during the work, since its deadline had passed


class Lane(IntEnum):
    """Where the work ran."""

    NONE = 0
    LOOP = 1
    THREAD = 2
    PROCESS = 3


class Hedge(Array, frozen=True):
    """Marks a request as a second copy.

    Attributes:
        shard: the shard that is asked; of a first copy, its queue says so.
        workers: those that may take it, unless they have the first copy.
    """

    shard: int
    workers: list[str]


class Attach(Array, frozen=True):
    """Which documents a reply to a search carries, so that they need no fetch.

    Attributes:
        num: for how many of the shard's best hits, at most.
        max_bytes: most bytes of these documents, as they are stored.
        fields: names of the requested fields; None for all.
        vectors: the collection's vector fields. They are left out unless `fields` names them, and
            are then lists of numbers; fields that are not among these are as they are stored.
        k: how many hits the merge of all shards keeps, by score and then by id. A worker that has
            searched several shards leaves out the documents of hits which the others beat. 0 if
            that is not how they are merged, or if only one shard is asked.
    """

    num: Count
    max_bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_ATTACHED_BYTES)]
    fields: list[str] | None
    vectors: tuple[str, ...] = ()
    k: Count = 0


class Request(Array, frozen=True):
    """One request, as it is in a shard's queue.

    Attributes:
        kind: a `Kind`.
        query_id: unique within the gateway of `reply_to`.
        expires_at_ms: when its reply is no longer of use, an instant on the Redis server's clock.
        sent_at_us: when the gateway sent it, an instant on the Redis server's clock.
        reply_to: the channel on which the gateway listens.
        payload: a packed `SearchPayload` or `FetchPayload`.
        hedge: None for a first copy.
        late_ms: the time from the deadline to `expires_at_ms`; a reply between the two is in no
            answer, but shows the gateway how late it was.
        attach: the documents that the reply to a search may carry; None for none. It is not part of
            the payload, by which the quarantine recognises a query. It is sent only if all workers
            support it (`Heartbeat.attaches`).
        trace: the packed `TraceContext` of the search or fetch; None while tracing is off, or
            unless all workers support it (`Heartbeat.traces`).
    """

    kind: int
    query_id: int
    expires_at_ms: int
    sent_at_us: int
    reply_to: str
    payload: bytes
    hedge: Hedge | None = None
    late_ms: Count = 0
    attach: Attach | None = None
    trace: bytes | None = None


class Reply(Array, frozen=True):
    """One shard's answer to one request.

    Attributes:
        query_id: the request's.
        shard: the shard that answers.
        status: a `Status`.
        lane: a `Lane`.
        queue_us: time between sending and pulling, in µs; includes the difference of the clocks.
        lane_us: time between pulling and the start of the work, in µs.
        work_us: time that the work took, in µs.
        body: a packed `SearchBody` or `FetchBody` if the status is OK, else a packed `Failure`.
        is_hedge: whether the request was a second copy.
    """

    query_id: int
    shard: int
    status: int
    lane: int
    queue_us: int
    lane_us: int
    work_us: int
    body: bytes
    is_hedge: bool = False


class Cancellation(Array, frozen=True):
    """Queries that no longer need one shard's reply; the channel says which shard.

    Attributes:
        reply_to: the gateway's reply channel.
        queries: (query id, its deadline in ms on the Redis server's clock) of each.
    """

    reply_to: str
    queries: list[tuple[int, int]]


class SearchPayload(Array, frozen=True):
    """The part of a search that is the same for all shards.

    Attributes:
        uid: the collection's unique id (a re-created collection has another).
        query: the query text.
        k: the most hits that each shard returns.
        profile: the rank profile's name.
        filter: a query that documents must match and that does not count in the score, or "".
        strict: whether a syntax error in the query is an error.
        options: what else is asked for; None for nothing. It is sent only if all workers know what
            it asks for (`Heartbeat.search_options`).
    """

    uid: str
    query: str
    k: int
    profile: str
    filter: str
    strict: bool
    options: SearchOptions | None = None


class SearchBody(Array, frozen=True):
    """One shard's part of a search's answer.

    Attributes:
        documents: how many documents of the collection the shard has, all of which were searched.
        total: how many of them match.
        is_exact: whether `total` is exact, or a lower bound.
        ids: the best matches' ids, best first, ties by id.
        scores: their scores, finite, in the same order.
        unranked: candidates that the second phase did not receive, since they are too large.
        attached: the documents of the first ids, as JSON with the requested fields; the others must
            be fetched. Sent only to a gateway that has asked for them.
        second_phase_us: when the second phase began, counted from the start of the work, and how
            long it took, in µs. Sent only for a request with a `trace`, and only if the scorer has
            not made a span of it.
    """

    documents: Count
    total: Count
    is_exact: bool
    ids: list[str]
    scores: list[Finite]
    unranked: Count = 0
    attached: Sequence[bytes] = ()
    second_phase_us: tuple[Count, Count] | None = None
    extras: SearchExtras | None = None


class FetchPayload(Array, frozen=True):
    """Which documents to read from one shard.

    Attributes:
        uid: the collection's unique id.
        ids: the requested documents, all owned by this shard.
        fields: names of the requested fields; None for all.
        profile: the rank profile whose `enrich` hook runs on them; "" for none.
        vectors: as `Attach.vectors`.
        highlighting: what to mark in them; None for nothing. It is sent only if all workers know it
            (`Heartbeat.search_options`).
        terms: which words of the documents to send; None for none. Sent as `highlighting` is.
    """

    uid: str
    ids: list[str]
    fields: list[str] | None
    profile: str
    vectors: tuple[str, ...] = ()
    highlighting: Highlighting | None = None
    terms: WantedTerms | None = None


class FetchBody(Array, frozen=True):
    """The documents that a shard read.

    Attributes:
        documents: in the order of the request, a document's JSON; an int, its size in bytes, if it
            was left out so that the reply stays within limits.max_fetch_bytes; None if the shard
            has no such document. Workers up to version 0.1 send the decoded document.
        enrich_error: "" if `enrich` ran or was not requested; otherwise why there are only the
            stored fields.
        is_enrich_late: whether that is because `enrich` had too little time.
        enrich_us: as `SearchBody.second_phase_us`, of `enrich`.
        highlights: for each document, its highlights as JSON; None if it has no document, or if
            there was no time for them. Empty unless they were asked for.
        highlight_error: why some documents have none; "" if all have.
        terms: field and word of the words that were asked for, of all documents.
    """

    documents: Sequence[bytes | Count | dict[str, Any] | None]
    enrich_error: str
    is_enrich_late: bool = False
    enrich_us: tuple[Count, Count] | None = None
    highlights: tuple[bytes | None, ...] = ()
    highlight_error: str = ""
    terms: tuple[tuple[str, str], ...] = ()


class Failure(Array, frozen=True):
    """Why a request failed.

    Attributes:
        code: a `FailureCode`; a string here, since a newer worker may send one that this version
            does not know.
        message: one line for the caller.
    """

    code: str
    message: str


_decode_request = msgspec.msgpack.Decoder(tuple[int, Request]).decode
_decode_cancellation = msgspec.msgpack.Decoder(tuple[int, Cancellation]).decode
_decode_replies = msgspec.msgpack.Decoder(tuple[int, str, list[Reply]]).decode
_decode_search_payload = msgspec.msgpack.Decoder(SearchPayload).decode
_decode_search_body = msgspec.msgpack.Decoder(SearchBody).decode
_decode_fetch_payload = msgspec.msgpack.Decoder(FetchPayload).decode
_decode_fetch_body = msgspec.msgpack.Decoder(FetchBody).decode
_decode_failure = msgspec.msgpack.Decoder(Failure).decode


def pack_body(body: SearchPayload | SearchBody | FetchPayload | FetchBody | Failure) -> bytes:
    """Pack a payload or a body; its place in a message implies its type."""
    # Without what they have not asked for, earlier gateways can read these.
    if type(body) is SearchPayload and body.options is None:
        return encode(astuple(body)[:-1])
    if type(body) is SearchBody and body.extras is None:
        if body.second_phase_us is not None:
            return encode(astuple(body)[:-1])
        return encode(astuple(body)[: -2 if body.attached else -3])
    if type(body) is FetchBody and not (body.highlights or body.highlight_error or body.terms):
        return encode(astuple(body)[: -4 if body.enrich_us is None else -3])
    if type(body) is FetchPayload and body.highlighting is None and body.terms is None:
        return encode(astuple(body)[: -2 if body.vectors else -3])
    return encode(body)


def pack_request(request: Request) -> bytes:
    """Pack a request. The same bytes go to every shard that is asked."""
    if request.trace is None:  # the forms that earlier workers can read
        parts, attach = astuple(request)[:-2], request.attach
        if attach is not None:
            num_unused = 0 if attach.k else 1 if attach.vectors else 2
            members = astuple(attach)
            parts = (*parts, members[: len(members) - num_unused])
        return encode((VERSION, parts))
    return encode((VERSION, request))


def unpack_request(data: bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> Request:
    """Unpack a request.

    Raises:
        WireError: it is malformed, over `max_bytes`, or of an unknown version.
    """
    version, request = read_message(_decode_request, data, max_bytes)
    check_version(version)
    return request


def pack_replies(worker: str, replies: list[Reply]) -> bytes:
    """Pack replies that are ready together for the same gateway."""
    return encode((VERSION, worker, replies))


def unpack_replies(data: bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> tuple[str, list[Reply]]:
    """Unpack a message of replies; the bodies stay packed.

    Returns:
        The worker that sent them, and the replies.

    Raises:
        WireError: it is malformed, over `max_bytes`, or of an unknown version.
    """
    version, worker, replies = read_message(_decode_replies, data, max_bytes)
    check_version(version)
    return worker, replies


def pack_cancellation(cancellation: Cancellation) -> bytes:
    """Pack a cancellation."""
    return encode((VERSION, cancellation))


def unpack_cancellation(data: bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> Cancellation:
    """Unpack a cancellation.

    Raises:
        WireError: it is malformed, over `max_bytes`, or of an unknown version.
    """
    version, cancellation = read_message(_decode_cancellation, data, max_bytes)
    check_version(version)
    return cancellation


def unpack_search_payload(data: bytes) -> SearchPayload:
    """Unpack a search's payload.

    Raises:
        WireError: it is malformed.
    """
    return read(_decode_search_payload, data)


def unpack_search_body(data: bytes) -> SearchBody:
    """Unpack one shard's hits, and check that each can be ranked and shown; 1.5 µs for ten.

    Raises:
        WireError: it is malformed, the numbers of scores and ids differ, it has more documents than
            ids, or a score is not a finite number.
    """
    try:  # inlined, since this is read eight times as often as any other message
        body = _decode_search_body(data)
    except UNREADABLE as error:
        raise WireError(f"malformed: {error}") from error
    if len(body.ids) != len(body.scores):
        raise WireError("a search body has as many scores as ids")
    if len(body.attached) > len(body.ids):
        raise WireError("a search body has at most as many documents as ids")
    return body


def unpack_fetch_payload(data: bytes) -> FetchPayload:
    """Unpack which documents to read.

    Raises:
        WireError: it is malformed.
    """
    return read(_decode_fetch_payload, data)


def unpack_fetch_body(data: bytes) -> FetchBody:
    """Unpack the documents that a shard read.

    Raises:
        WireError: it is malformed.
    """
    return read(_decode_fetch_body, data)


def unpack_failure(data: bytes) -> Failure:
    """Unpack why a request failed.

    Raises:
        WireError: it is malformed.
    """
    return read(_decode_failure, data)
