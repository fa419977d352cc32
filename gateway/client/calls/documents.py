"""Requests about documents."""

from typing import Any, Final, NamedTuple

from hedgerow.common.document_ids import check_address_id
from hedgerow.gateway.client.calls.call import (
    WRITE_TIMEOUT_S,
    Call,
    answer,
    deadline_in_s,
    deadline_parameter,
    given,
    json_of,
    path_of_collection,
    segment,
    wait_in_s,
)
from hedgerow.gateway.client.ndjson import Document, document_body
from hedgerow.gateway.client.reply import Reply
from hedgerow.gateway.shapes.collection import LoadAnswer, Wait
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryAnswer, DeleteByQueryBody

_ANY_LENGTH: Final = 1 << 31  # in bytes; the limit is a setting of the gateway


class VersionedDocument(NamedTuple):
    """A document, and its version.

    Attributes:
        document: as it was loaded.
        version: for `if_version` of a write; "" from a gateway of an earlier version.
    """

    document: dict[str, Any]
    version: str


def index(collection: str, wait: Wait, takes_s: float) -> Call[LoadAnswer]:
    """Load documents; the client adds the body."""
    return Call(
        "POST",
        f"{path_of_collection(collection)}/documents",
        answer(LoadAnswer),
        wait_in_s("timeout_s", takes_s),
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
        deadline_in_s(deadline_ms),
        deadline_parameter(deadline_ms),
    )


def get_versioned(
    collection: str, document_id: str, deadline_ms: float | None
) -> Call[VersionedDocument]:
    """Read a document with its version."""
    return Call(
        "GET",
        _document(collection, document_id),
        _versioned,
        deadline_in_s(deadline_ms),
        deadline_parameter(deadline_ms),
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
        answer(LoadAnswer),
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
        answer(LoadAnswer),
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
    takes_s = WRITE_TIMEOUT_S if body.timeout_ms is None else deadline_in_s(body.timeout_ms)
    return Call(
        "POST",
        f"{path_of_collection(collection)}/documents:delete",
        answer(DeleteByQueryAnswer),
        takes_s + WRITE_TIMEOUT_S,  # the last deletions are waited for
        body=json_of(body),
    )


def _write_parameters(wait: Wait, if_version: str | None, request_id: str | None) -> dict[str, str]:
    return given({"wait": wait, "if_version": if_version, "request_id": request_id})


def _versioned(reply: Reply) -> VersionedDocument:
    document = reply.json()
    return VersionedDocument(document, reply.headers.get("etag", "").removeprefix("W/").strip('"'))


def _document(collection: str, document_id: str) -> str:
    """Return the path of a document.

    Raises:
        BadRequestError: the id is not valid. It must not be sent: if a proxy resolved "..", the
            path of a document would be that of its collection.
    """
    check_address_id(document_id, _ANY_LENGTH)
    return f"{path_of_collection(collection)}/documents/{segment(document_id)}"
