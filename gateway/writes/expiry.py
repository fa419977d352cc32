"""Deletes documents that have expired: those whose date in a certain field has passed.

One gateway at a time does so, in the background, for all collections whose documents expire.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from hedgerow.common.collection import Collection
from hedgerow.common.errors import (
    BadRequestError,
    ConfigurationError,
    HedgerowError,
    RedisUnavailableError,
)
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.observability.telemetry import Counters, Throttle
from hedgerow.common.state.expiry import ExpiryStore
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryAnswer, DeleteByQueryBody
from hedgerow.gateway.shapes.expiry import ExpiryAnswer
from hedgerow.gateway.writes.collections import Collections

_HELD_INTERVALS: Final = 3  # a lease is renewed this often before it ends

Delete = Callable[[str, DeleteByQueryBody], Awaitable[DeleteByQueryAnswer]]

_log = structlog.get_logger()


class Expiry:
    """Knows by which fields documents expire, and deletes those that have expired."""

    def __init__(
        self,
        store: ExpiryStore,
        collections: Collections,
        delete: Delete,
        counters: Counters,
        gateway_id: str,
        interval_s: float,
    ) -> None:
        """Delete through `delete`.

        Args:
            store: keeps the fields in Redis.
            collections: the definitions.
            delete: deletes the documents of a collection by query.
            counters: `documents_expired` counts the documents.
            gateway_id: of this gateway.
            interval_s: how often to delete, in s; 0 for never.
        """
        self._store = store
        self._collections = collections
        self._delete = delete
        self._counters = counters
        self._gateway_id = gateway_id
        self._interval_s = interval_s
        self._throttle = Throttle(60.0)

    async def set_field(self, collection: str, field: str) -> ExpiryAnswer:
        """Have a collection's documents expire at the date that each has in a field.

        Raises:
            NotFoundError: there is no such collection.
            BadRequestError: the collection has no date field of that name.
        """
        definition = await self._collections.current(collection)
        if definition.type_of(field) is not FieldType.DATE:
            raise BadRequestError("field", f"{field!r} is not a date field of the collection")
        await self._store.set_field(definition.uid, field)
        return ExpiryAnswer(field)

    async def get(self, collection: str) -> ExpiryAnswer:
        """By which field a collection's documents expire.

        Raises:
            NotFoundError: there is no such collection.
        """
        definition = await self._collections.current(collection)
        return ExpiryAnswer(await self._store.field_of(definition.uid))

    async def remove(self, collection: str) -> None:
        """Have a collection's documents expire no longer.

        Raises:
            NotFoundError: there is no such collection.
        """
        await self._store.remove((await self._collections.current(collection)).uid)

    async def run(self) -> None:
        """Delete what has expired, until cancelled; returns at once if that is turned off."""
        if not self._interval_s:
            return
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                hold_s = _HELD_INTERVALS * self._interval_s
                if await self._store.hold_lease(self._gateway_id, hold_s):
                    await self._delete_expired()
            except RedisUnavailableError as error:
                _log.debug("expiry_unavailable", error=str(error))
            except ConfigurationError as error:
                if self._throttle.allows("refused", asyncio.get_running_loop().time()):
                    _log.error("expiry_refused", error=str(error))

    async def _delete_expired(self) -> None:
        fields = await self._store.all()
        if not fields:
            return
        known = {definition.uid: definition for definition in self._collections.definitions()}
        now_ms = await self._store.now_ms()
        for uid, field in fields.items():
            definition = known.get(uid)
            if definition is None:
                await self._forget_if_dropped(uid)
            else:
                await self._delete_from(definition, field, now_ms)

    async def _delete_from(self, definition: Collection, field: str, now_ms: int) -> None:
        body = DeleteByQueryBody(f"{field}:<{rfc3339(now_ms)}", timeout_ms=self._interval_s * 1000)
        try:
            answer = await self._delete(definition.name, body)
        except HedgerowError as error:  # it is tried again after the next interval
            if self._throttle.allows(definition.uid, asyncio.get_running_loop().time()):
                _log.warning("expiry_failed", collection=definition.name, error=str(error))
            return
        if answer.deleted:
            self._counters.add("documents_expired", answer.deleted)

    async def _forget_if_dropped(self, uid: str) -> None:
        await self._collections.refresh()
        if uid not in set(self._collections.uids()):
            await self._store.remove(uid)


def rfc3339(at_ms: int) -> str:
    """A time in ms since 1970 as a date of the query language, to the second."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
