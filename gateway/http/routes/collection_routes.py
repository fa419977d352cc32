"""The routes of collections and their documents."""

from typing import Annotated, Final

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from hedgerow.common.errors import BadRequestError
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.http.openapi import answers, json_body
from hedgerow.gateway.http.ports import GatewayPort, Report
from hedgerow.gateway.http.problems import json_response
from hedgerow.gateway.http.requests.bodies import body_reader, read_object
from hedgerow.gateway.http.requests.guard import caller_of, party_of, peer_in, traceparent_in
from hedgerow.gateway.http.requests.held import HeldResponse
from hedgerow.gateway.http.requests.in_progress import in_progress
from hedgerow.gateway.http.requests.limits import read_body
from hedgerow.gateway.http.requests.preconditions import condition_of
from hedgerow.gateway.http.routes.collection_list import list_response
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.shapes.collection import (
    CollectionAnswer,
    CollectionBody,
    CollectionPatch,
    CollectionsAnswer,
    CurveAnswer,
    LoadAnswer,
    OptimiseAnswer,
    Wait,
)
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryAnswer, DeleteByQueryBody
from hedgerow.gateway.writes.conditional_writes import Origin

_NDJSON: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
    }
}

_OBJECT: Final = {"application/json": {"schema": {"type": "object"}}}

_DOCUMENT: Final = {"requestBody": {"required": True, "content": _OBJECT}}

_CHANGES: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/merge-patch+json": {"schema": {"type": "object"}}},
    }
}


def collection_routes(gateway: GatewayPort, settings: GatewaySettings) -> Router:
    """Make the routes that define and list collections."""
    router = Router()

    @router.get(
        "/v1/collections",
        summary="List the collections",
        responses=answers(200, CollectionsAnswer, 400, 503),
    )
    async def list_collections(request: Request) -> Response:
        caller = caller_of(request.scope)
        with in_progress(gateway.requests, request.scope):
            listed = await gateway.collections.list()
        return list_response([collection for collection in listed if caller.sees(collection.name)])

    @router.put(
        "/v1/collections/{name}",
        summary="Create a collection",
        responses=answers(200, CollectionAnswer, 400, 409, 413, 503, 507),
        body=json_body(CollectionBody, is_required=False),
    )
    async def put_collection(name: str, request: Request) -> Response:
        raw = await read_body(request.scope, request.receive, settings.max_body_bytes)
        body = read_object(raw) if raw.strip() else {}
        with in_progress(gateway.requests, request.scope):
            await gateway.collections.put(name, body)
            return json_response(await gateway.collections.describe(name))

    @router.patch(
        "/v1/collections/{name}",
        summary="Add fields to a collection",
        responses=answers(200, CollectionAnswer, 400, 404, 409, 413, 503, 507),
        body=json_body(CollectionPatch),
    )
    async def patch_collection(name: str, request: Request) -> Response:
        raw = await read_body(request.scope, request.receive, settings.max_body_bytes)
        body = read_object(raw) if raw.strip() else {}
        with in_progress(gateway.requests, request.scope):
            await gateway.collections.add_fields(name, body)
            return json_response(await gateway.collections.describe(name))

    @router.get(
        "/v1/collections/{name}",
        summary="Describe a collection",
        responses=answers(200, CollectionAnswer, 400, 404, 503),
    )
    async def describe_collection(name: str, request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.collections.describe(name))

    @router.delete(
        "/v1/collections/{name}",
        summary="Remove a collection with its documents",
        responses=answers(204, None, 400, 404, 503, 507),
    )
    async def drop_collection(name: str, request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            await gateway.collections.drop(name)
        return Response(status_code=204)

    @router.post(
        "/v1/collections/{name}/optimise",
        summary="Ask the workers to optimise a collection's text indexes",
        responses=answers(202, OptimiseAnswer, 400, 404, 503, 507),
    )
    async def optimise_collection(name: str, request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            return json_response(await gateway.optimiser.ask(name), 202)

    @router.get(
        "/v1/collections/{name}/coverage-curve",
        summary="Show how coverage depends on the deadline",
        responses=answers(200, CurveAnswer, 400, 404),
    )
    async def coverage_curve(
        name: str,
        deadline_ms: Annotated[float, Meta(gt=0, le=settings.max_deadline_ms)] = min(
            settings.default_deadline_ms, settings.max_deadline_ms
        ),
    ) -> Response:
        return json_response(gateway.coverage_curve(name, deadline_ms))

    return router


def document_routes(gateway: GatewayPort, settings: GatewaySettings) -> Router:
    """Make the routes that load, read and remove documents."""
    router = Router()

    @router.post(
        "/v1/collections/{name}/documents",
        summary="Load documents, one JSON object per line",
        responses=answers(200, LoadAnswer, 400, 404, 429, 503, 507),
        body=_NDJSON,
    )
    async def load_documents(name: str, request: Request, wait: Wait = "applied") -> Response:
        party = party_of(request.scope)
        traceparent = traceparent_in(request.scope)
        report = await gateway.documents.load(
            name, request.stream(), wait, party=party, traceparent=traceparent
        )
        return json_response(report.answer())

    read_deletion = body_reader(DeleteByQueryBody)

    @router.post(
        "/v1/collections/{name}/documents:delete",
        summary="Delete the documents that a query finds",
        responses=answers(200, DeleteByQueryAnswer, 400, 404, 413, 503, 504, 507),
        body=json_body(DeleteByQueryBody),
    )
    async def delete_by_query(name: str, request: Request) -> Response:
        raw = await read_body(request.scope, request.receive, settings.max_body_bytes)
        body = read_deletion(raw)
        with in_progress(gateway.requests, request.scope):
            answer = await gateway.delete_by_query.run(
                name,
                body,
                caller=caller_of(request.scope),
                peer=peer_in(request.scope),
                traceparent=traceparent_in(request.scope),
            )
        return json_response(answer)

    @router.get(
        "/v1/collections/{name}/documents/{document_id:path}",
        summary="Read a document",
        responses={
            **answers(200, None, 400, 404, 503),
            200: {"description": "The document as it was loaded", "content": _OBJECT},
        },
    )
    async def get_document(
        name: str,
        document_id: str,
        request: Request,
        deadline_ms: Annotated[float, Meta(gt=0, le=settings.max_deadline_ms)] = min(
            settings.default_deadline_ms, settings.max_deadline_ms
        ),
    ) -> Response:
        with in_progress(gateway.requests, request.scope):
            document = await gateway.reader.stored(
                name, document_id, deadline_ms, party=party_of(request.scope)
            )
            shown = gateway.reader.shown(name, document.body)
        return HeldResponse(document, shown)

    @router.put(
        "/v1/collections/{name}/documents/{document_id:path}",
        summary="Add or replace a document",
        responses=answers(200, LoadAnswer, 400, 404, 412, 413, 429, 503, 507),
        body=_DOCUMENT,
    )
    async def put_document(
        name: str,
        document_id: str,
        request: Request,
        wait: Wait = "applied",
        if_version: str | None = None,
        request_id: str | None = None,
    ) -> Response:
        origin = _origin(request)
        condition = condition_of(request, if_version)
        if condition is not None:
            report: Report = await gateway.conditional_writes.put(
                name,
                document_id,
                request.stream(),
                condition,
                wait,
                request_id=request_id,
                origin=origin,
            )
        else:
            _check_alone(request_id)
            report = await gateway.documents.put(
                name,
                document_id,
                request.stream(),
                wait,
                party=origin.party,
                traceparent=origin.traceparent,
            )
        return json_response(report.answer())

    @router.patch(
        "/v1/collections/{name}/documents/{document_id:path}",
        summary="Change a document by a JSON merge patch",
        responses=answers(200, LoadAnswer, 400, 404, 412, 413, 429, 503, 507),
        body=_CHANGES,
    )
    async def patch_document(
        name: str,
        document_id: str,
        request: Request,
        wait: Wait = "applied",
        if_version: str | None = None,
        request_id: str | None = None,
    ) -> Response:
        condition = condition_of(request, if_version)
        body = await read_body(request.scope, request.receive, settings.max_body_bytes)
        with in_progress(gateway.requests, request.scope):
            report = await gateway.conditional_writes.patch(
                name,
                document_id,
                body,
                wait,
                if_version=condition,
                request_id=request_id,
                origin=_origin(request),
            )
        return json_response(report.answer())

    @router.delete(
        "/v1/collections/{name}/documents/{document_id:path}",
        summary="Remove a document",
        responses=answers(204, None, 400, 404, 412, 503, 507),
    )
    async def delete_document(
        name: str,
        document_id: str,
        request: Request,
        wait: Wait = "applied",
        if_version: str | None = None,
        request_id: str | None = None,
    ) -> Response:
        origin = _origin(request)
        condition = condition_of(request, if_version)
        with in_progress(gateway.requests, request.scope):
            if condition is not None:
                await gateway.conditional_writes.delete(
                    name, document_id, condition, wait, request_id=request_id, origin=origin
                )
            else:
                _check_alone(request_id)
                await gateway.documents.delete(
                    name, document_id, wait, traceparent=origin.traceparent
                )
        return Response(status_code=204)

    return router


def _origin(request: Request) -> Origin:
    return Origin(party_of(request.scope), traceparent_in(request.scope))


def _check_alone(request_id: str | None) -> None:
    """Refuse an id of a write without a condition, which may be repeated anyway."""
    if request_id is not None:
        raise BadRequestError("request_id", "is for writes on a condition, and for patches")
