"""The routes of aliases."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from hedgerow.common.collection import check_name
from hedgerow.common.errors import NotFoundError
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.caller import Caller, Right
from hedgerow.gateway.http.openapi import answers, json_body
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import json_response
from hedgerow.gateway.http.requests.bodies import body_reader
from hedgerow.gateway.http.requests.guard import caller_of
from hedgerow.gateway.http.requests.in_progress import in_progress
from hedgerow.gateway.http.requests.limits import read_body
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.shapes.alias import (
    AliasAnswer,
    AliasBody,
    AliasChange,
    AliasChanges,
    AliasesAnswer,
)


def alias_routes(gateway: GatewayPort, settings: GatewaySettings) -> Router:
    """Make the routes that list and change aliases."""
    router = Router()
    read_alias, read_changes = body_reader(AliasBody), body_reader(AliasChanges)

    @router.get(
        "/v1/aliases",
        summary="List the aliases of collections",
        responses=answers(200, AliasesAnswer, 400, 503),
    )
    async def list_aliases(request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            aliases = await gateway.aliases.refresh()
        return json_response(_listed(aliases, caller_of(request.scope)))

    @router.post(
        "/v1/aliases",
        summary="Set and remove several aliases in one step",
        responses=answers(200, AliasesAnswer, 400, 404, 409, 413, 503, 507),
        body=json_body(AliasChanges),
    )
    async def change_aliases(request: Request) -> Response:
        body = read_changes(
            await read_body(request.scope, request.receive, settings.max_body_bytes)
        )
        with in_progress(gateway.requests, request.scope):
            await gateway.aliases.change(body.changes)
        return json_response(_listed(gateway.aliases.known(), caller_of(request.scope)))

    @router.get(
        "/v1/aliases/{alias}",
        summary="Show which collection an alias stands for",
        responses=answers(200, AliasAnswer, 400, 404, 503),
    )
    async def get_alias(alias: str, request: Request) -> Response:
        with in_progress(gateway.requests, request.scope):
            collection = await gateway.aliases.stored(alias)
        # A caller without access to the collection does not learn whether the alias exists.
        caller_of(request.scope).check(Right.SEARCH, alias, collection or "")
        if collection is None:
            raise NotFoundError(f"there is no alias {alias!r}")
        return json_response(AliasAnswer(alias, collection))

    @router.put(
        "/v1/aliases/{alias}",
        summary="Make an alias stand for a collection",
        responses=answers(200, AliasAnswer, 400, 404, 409, 413, 503, 507),
        body=json_body(AliasBody),
    )
    async def put_alias(alias: str, request: Request) -> Response:
        body = read_alias(await read_body(request.scope, request.receive, settings.max_body_bytes))
        check_name(alias, "alias")
        check_name(body.collection, "collection")
        with in_progress(gateway.requests, request.scope):
            await gateway.aliases.change([AliasChange(alias, body.collection)])
        return json_response(AliasAnswer(alias, body.collection))

    @router.delete(
        "/v1/aliases/{alias}",
        summary="Remove an alias; its collection stays",
        responses=answers(204, None, 400, 404, 503, 507),
    )
    async def delete_alias(alias: str, request: Request) -> Response:
        check_name(alias, "alias")
        with in_progress(gateway.requests, request.scope):
            await gateway.aliases.change([AliasChange(alias, None)])
        return Response(status_code=204)

    return router


def _listed(aliases: Mapping[str, str], caller: Caller) -> AliasesAnswer:
    return AliasesAnswer(
        [AliasAnswer(alias, name) for alias, name in sorted(aliases.items()) if caller.sees(name)]
    )
