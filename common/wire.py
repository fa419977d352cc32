"""What travels between gateway and shard worker: MessagePack arrays, a version first in each.

A request is the same bytes for every shard of a query: the queue that it lies in says which shard
is meant. Replies that are ready together leave a worker as one message. Bodies are packed by the
lane that made them and stay opaque to everything between it and the merge.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from common.errors import WireError

VERSION = 1
MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # the setting limits.max_message_bytes narrows it

_packb = msgpack.Packer(use_bin_type=True, autoreset=True).pack


class Kind(IntEnum):
    """What a request asks for."""

    SEARCH = 1
    FETCH = 2


class Status(IntEnum):
    """How a worker says that a request ended."""

    OK = 0
    FAILED = 1
    EXPIRED = 2  # dropped before or during work, since its deadline had passed


class Lane(IntEnum):
    """Where the work ran."""

    NONE = 0
    LOOP = 1
    THREAD = 2
    PROCESS = 3


class Request(NamedTuple):
    """One request, as it lies in a shard's queue.

    Attributes:
        kind: what is asked for.
        query_id: unique within the gateway that `reply_to` names.
        expires_at_ms: the deadline, an instant on the Redis server's clock.
        sent_at_us: when the gateway sent it, an instant on the Redis server's clock.
        reply_to: the channel on which the gateway listens.
        payload: a packed `SearchPayload` or `FetchPayload`.
    """

    kind: int
    query_id: int
    expires_at_ms: int
    sent_at_us: int
    reply_to: str
    payload: bytes


class Reply(NamedTuple):
    """One shard's answer to one request.

    Attributes:
        query_id: the request's.
        shard: whose answer this is.
        status: a `Status`.
        lane: a `Lane`.
        queue_us: time between sending and pulling, in µs; includes the clocks' disagreement.
        lane_us: time between pulling and the start of the work, in µs.
        work_us: time that the work took, in µs.
        body: a packed `SearchBody` or `FetchBody` when the status is OK, else a packed `Failure`.
    """

    query_id: int
    shard: int
    status: int
    lane: int
    queue_us: int
    lane_us: int
    work_us: int
    body: bytes


class SearchPayload(NamedTuple):
    """The part of a search that is the same for all shards.

    Attributes:
        uid: the collection's unique id (a re-created collection has another).
        query: the query text.
        k: how many hits each shard returns at most.
        profile: the rank profile's name.
        filter: a query that documents must match without it counting in the score, or "".
        strict: whether a syntax error in the query is an error.
    """

    uid: str
    query: str
    k: int
    profile: str
    filter: str
    strict: bool


class SearchBody(NamedTuple):
    """One shard's part of a search's answer.

    Attributes:
        documents: how many documents of the collection the shard holds, all of them searched.
        total: how many of them match.
        is_exact: whether `total` is exact, or a lower bound.
        ids: the best matches' ids, best first, ties by id.
        scores: their scores, in the same order.
    """

    documents: int
    total: int
    is_exact: bool
    ids: list[str]
    scores: list[float]


class FetchPayload(NamedTuple):
    """Which documents to read from one shard.

    Attributes:
        uid: the collection's unique id.
        ids: the wanted documents, all owned by the one shard.
        fields: the wanted fields' names; None for all.
        profile: the rank profile whose `enrich` hook runs over them; "" for none.
    """

    uid: str
    ids: list[str]
    fields: list[str] | None
    profile: str


class FetchBody(NamedTuple):
    """The documents that a shard read.

    Attributes:
        documents: in the order asked for; None where the shard has no such document.
        enrich_error: "" when `enrich` ran, or none was asked for; else why the stored fields
            are all that there is.
        is_enrich_late: whether that is because `enrich` had too little time.
    """

    documents: list[dict[str, Any] | None]
    enrich_error: str
    is_enrich_late: bool = False


class Failure(NamedTuple):
    """Why a request failed.

    Attributes:
        code: a `WorkError.code`.
        message: one line for the caller.
    """

    code: str
    message: str


_REQUEST_TYPES: list[type] = [int, int, int, int, int, str, bytes]  # the version, then a Request
_REPLY_TYPES: list[type] = [int] * 7 + [bytes]
_SEARCH_PAYLOAD_TYPES: list[type] = [str, str, int, str, str, bool]
_FAILURE_TYPES: list[type] = [str, str]


def pack_body(body: SearchPayload | SearchBody | FetchPayload | FetchBody | Failure) -> bytes:
    """Pack a payload or a body; its type is known from where it travels."""
    packed: bytes = _packb(body)
    return packed


def pack_request(request: Request) -> bytes:
    """Pack a request. The same bytes go to every shard that is asked."""
    packed: bytes = _packb((VERSION, *request))
    return packed


def unpack_request(data: bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> Request:
    """Unpack a request.

    Raises:
        WireError: it is malformed, over `max_bytes`, or of an unknown version.
    """
    fields = _unpack(data, max_bytes)
    _check_types(fields, _REQUEST_TYPES, "request")
    return Request._make(fields[1:])


def pack_replies(worker: str, replies: list[Reply]) -> bytes:
    """Pack replies that are ready together for the same gateway."""
    packed: bytes = _packb((VERSION, worker, replies))
    return packed


def unpack_replies(data: bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> tuple[str, list[Reply]]:
    """Unpack a message of replies; the bodies stay packed.

    Returns:
        The worker that sent them, and the replies.

    Raises:
        WireError: it is malformed, over `max_bytes`, or of an unknown version.
    """
    fields = _unpack(data, max_bytes)
    if len(fields) != 3 or type(fields[1]) is not str or type(fields[2]) is not list:
        raise WireError("a reply message has a version, a worker and a list of replies")
    replies = []
    for parts in fields[2]:
        _check_types(parts, _REPLY_TYPES, "reply")
        replies.append(Reply._make(parts))
    return fields[1], replies


def unpack_search_payload(data: bytes) -> SearchPayload:
    """Unpack a search's payload.

    Raises:
        WireError: it is malformed.
    """
    parts = _decode(data)
    _check_types(parts, _SEARCH_PAYLOAD_TYPES, "search payload")
    return SearchPayload._make(parts)


def unpack_search_body(data: bytes) -> SearchBody:
    """Unpack one shard's hits; the ids and scores themselves are not looked at.

    Raises:
        WireError: it is malformed, or has not as many scores as ids.
    """
    try:  # in one piece, since this is read eight times as often as anything else
        documents, total, is_exact, ids, scores = msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise WireError(f"not a search body: {error or type(error).__name__}") from error
    if not (
        type(documents) is type(total) is int
        and documents >= 0 <= total
        and type(is_exact) is bool
        and type(ids) is type(scores) is list
        and len(ids) == len(scores)
    ):
        raise WireError("a search body's parts are not of the types that the format names")
    return SearchBody(documents, total, is_exact, ids, scores)


def unpack_fetch_payload(data: bytes) -> FetchPayload:
    """Unpack which documents to read.

    Raises:
        WireError: it is malformed.
    """
    parts = _decode(data)
    if not (
        type(parts) is list
        and len(parts) == 4
        and type(parts[0]) is str
        and _are_strings(parts[1])
        and (parts[2] is None or _are_strings(parts[2]))
        and type(parts[3]) is str
    ):
        raise WireError("a fetch payload's parts are not of the types that the format names")
    return FetchPayload._make(parts)


def unpack_fetch_body(data: bytes) -> FetchBody:
    """Unpack the documents that a shard read.

    Raises:
        WireError: it is malformed.
    """
    parts = _decode(data)
    if not (
        type(parts) is list
        and len(parts) == 3
        and type(parts[0]) is list
        and all(document is None or type(document) is dict for document in parts[0])
        and type(parts[1]) is str
        and type(parts[2]) is bool
    ):
        raise WireError("a fetch body's parts are not of the types that the format names")
    return FetchBody._make(parts)


def unpack_failure(data: bytes) -> Failure:
    """Unpack why a request failed.

    Raises:
        WireError: it is malformed.
    """
    parts = _decode(data)
    _check_types(parts, _FAILURE_TYPES, "failure")
    return Failure._make(parts)


def _are_strings(value: object) -> bool:
    return type(value) is list and all(type(one) is str for one in value)


def _check_types(parts: Any, types: list[type], what: str) -> None:
    # One comparison of lists costs a fifth of a check of each part.
    if type(parts) is not list or [*map(type, parts)] != types:
        raise WireError(f"a {what}'s parts are not of the types that the format names")


def _unpack(data: bytes, max_bytes: int) -> list[Any]:
    if len(data) > max_bytes:
        raise WireError(f"a message of {len(data)} bytes is over the limit of {max_bytes}")
    fields = _decode(data)
    if type(fields) is not list or not fields:
        raise WireError("a message is an array with its version first")
    if fields[0] != VERSION:
        raise WireError(f"version {fields[0]!r} is unknown; this process speaks {VERSION}")
    return fields


def _decode(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError(f"malformed MessagePack: {error or type(error).__name__}") from error
