"""Begins and ends a reindex, and says how far it is."""

import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from hedgerow.common.collection import Collection, check_name
from hedgerow.common.errors import BadRequestError, ConflictError, NotFoundError, WireError
from hedgerow.common.shard_log.operations import MIRRORS
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.reindexing import Reindex, ReindexState, ReindexStore
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.reindexing.carried_settings import CarriedSettings
from hedgerow.gateway.reindexing.driver import ReindexDriver
from hedgerow.gateway.reindexing.policy import ended_by_hand, next_step
from hedgerow.gateway.reindexing.progress import Progress
from hedgerow.gateway.reindexing.view import ReindexView
from hedgerow.gateway.shapes.reindex import (
    FaultyDocument,
    ReindexAnswer,
    ReindexBody,
    ReindexReport,
)
from hedgerow.gateway.writes.aliases import Aliases
from hedgerow.gateway.writes.storage_gate import StorageGate

_CHANGED: Final = "the reindex has changed just now; look at it again"


class ReindexAdmin:
    """Reindexes collections (docs/reindexing.md).

    Every method raises RedisUnavailableError if Redis does not answer in time.
    """

    def __init__(
        self,
        store: ReindexStore,
        driver: ReindexDriver,
        view: ReindexView,
        registry: Registry,
        aliases: Aliases,
        gate: StorageGate,
        settings: CarriedSettings,
    ) -> None:
        """Reindex.

        Args:
            store: keeps the reindex in Redis.
            driver: moves it on.
            view: sees how far it is.
            registry: has the collections.
            aliases: of the collections.
            gate: refuses to begin when there is no room.
            settings: what the new collection gets beside the documents.
        """
        self._store = store
        self._driver = driver
        self._view = view
        self._registry = registry
        self._aliases = aliases
        self._gate = gate
        self._settings = settings

    async def describe(self) -> ReindexAnswer:
        """The last reindex."""
        reindex = await self._store.read()
        return ReindexAnswer(None if reindex is None else await self._report(reindex))

    async def running(self) -> dict[str, Any] | None:
        """The reindex in progress, as JSON; None if there is none that can be read."""
        try:
            reindex = await self._store.read()
        except WireError:  # of a newer version
            return None
        if reindex is None or not reindex.is_running:
            return None
        found: dict[str, Any] = msgspec.to_builtins(await self._report(reindex))
        return found

    async def begin(self, body: ReindexBody) -> ReindexAnswer:
        """Begin to reindex; returns at once.

        The same reindex again only changes `skip_faulty`.

        Raises:
            BadRequestError: a name is invalid, or both are of the same collection.
            NotFoundError: there is no such collection.
            ConflictError: another reindex, or a split, is in progress; the new collection has
                documents, or no fields, or cannot have the old one's expiry; the alias stands for a
                third one; or a worker is too old.
            InsufficientStorageError: a disk or memory runs out.
        """
        for field, name in (("from", body.old), ("to", body.new), ("alias", body.alias)):
            check_name(name, field)
        if body.old == body.new:
            raise BadRequestError("to", "is the collection that is copied")
        last = await self._store.read()
        if last is not None and last.is_running:
            begun = _again(last, body)
        else:
            begun = await self._new(body, 0 if last is None else last.version)
        if begun != last and not await self._store.write(begun, begun.version - 1):
            raise ConflictError(_CHANGED)
        self._driver.wake()
        return ReindexAnswer(await self._report(begun))

    async def end(self, *, after_switch: bool = False) -> ReindexAnswer:
        """Cancel the reindex before its switch, or let the collections be independent after it.

        Returns at once.

        Args:
            after_switch: which of the two. A caller that wants to cancel and comes too late must
                not end what lets one go back.

        Raises:
            NotFoundError: none is in progress.
            ConflictError: it has switched, or has not; it is about to switch, or ends already.
        """
        reindex = await self._store.read()
        if reindex is None or not reindex.is_running:
            raise NotFoundError("no reindex is in progress")
        if (reindex.state is ReindexState.SWITCHED) != after_switch:
            raise ConflictError(_not_now(reindex, after_switch=after_switch))
        ended = ended_by_hand(reindex)
        if ended is None:
            raise ConflictError(f"the reindex is {reindex.state.value}; try again in a moment")
        if not await self._store.write(ended, reindex.version):
            raise ConflictError(_CHANGED)
        self._driver.wake()
        return ReindexAnswer(await self._report(ended))

    async def _new(self, body: ReindexBody, version: int) -> Reindex:
        self._gate.check()
        old, new = await self._collection(body.old), await self._collection(body.new)
        if new.fields is None:
            raise ConflictError(f"{new.name} has no fields yet; define them first")
        if num := sum((await self._registry.document_counts(new.uid)).values()):
            noun = "document" if num == 1 else "documents"
            raise ConflictError(
                f"{new.name} has {num} {noun}; reindex into an empty collection: remove it, and "
                "define it again"
            )
        is_new_alias = await self._check_alias(body)
        if await self._view.is_splitting():
            raise ConflictError("the shards are being split; reindex when that is done")
        _check_workers(self._view.workers)
        reindex = Reindex(
            version=version + 1,
            id=secrets.token_hex(8),
            old=old.name,
            old_uid=old.uid,
            new=new.name,
            new_uid=new.uid,
            alias=body.alias,
            is_new_alias=is_new_alias,
            skip_faulty=body.skip_faulty,
            state=ReindexState.COPYING,
            began_at_ms=await self._store.now_ms(),
        )
        return await self._settings.begun(reindex, old, new)

    async def _collection(self, name: str) -> Collection:
        found = await self._registry.collection(name)
        if found is None:
            raise NotFoundError(f"there is no collection {name!r}")
        return found

    async def _check_alias(self, body: ReindexBody) -> bool:
        """Whether there is no such alias yet; if there is, it must stand for the old collection."""
        if await self._registry.collection(body.alias) is not None:
            raise ConflictError(
                f"{body.alias!r} is the name of a collection, so no alias can have it"
            )
        stands_for = await self._aliases.stored(body.alias)
        if stands_for not in (None, body.old):
            raise ConflictError(
                f"the alias {body.alias!r} stands for {stands_for!r}, not for {body.old!r}"
            )
        return stands_for is None

    async def _report(self, reindex: Reindex) -> ReindexReport:
        seen, now_ms = await self._driver.see(reindex), await self._store.now_ms()
        step, progress = next_step(reindex, seen, now_ms), Progress.of(seen.shards)
        until_ms = reindex.switched_at_ms or reindex.ended_at_ms or now_ms
        return ReindexReport(
            old=reindex.old,
            new=reindex.new,
            alias=reindex.alias,
            skip_faulty=reindex.skip_faulty,
            state=reindex.state.value,
            running_s=max(0, until_ms - reindex.began_at_ms) / 1000,
            documents=progress.documents,
            copied=progress.copied,
            faulty=progress.faulty,
            first_faulty=[FaultyDocument(*one) for one in progress.first_faulty],
            copied_shards=progress.copied_shards,
            num_shards=len(seen.shards),
            waits_for=step.waits_for,
            is_stopped=step.is_stopped,
            switched_at_ms=reindex.switched_at_ms or None,
            ended_at_ms=reindex.ended_at_ms or None,
            error=reindex.error or None,
        )


def _again(running: Reindex, body: ReindexBody) -> Reindex:
    """The next version of a reindex that is asked for while one is in progress."""
    is_same = (running.old, running.new, running.alias) == (body.old, body.new, body.alias)
    if is_same and running.state is ReindexState.COPYING:
        if running.skip_faulty == body.skip_faulty:
            return running
        return msgspec.structs.replace(
            running, version=running.version + 1, skip_faulty=body.skip_faulty
        )
    if running.state is ReindexState.SWITCHED:
        raise ConflictError(
            f"{running.old} still follows {running.new}, which has replaced it: end that reindex, "
            f"or remove {running.old}, before the next one"
        )
    raise ConflictError(
        f"a reindex of {running.old} into {running.new} is in progress ({running.state.value})"
    )


def _not_now(reindex: Reindex, *, after_switch: bool) -> str:
    if after_switch:
        return f"the reindex is {reindex.state.value}; it can be ended once it has switched"
    return (
        f"the reindex has switched, and {reindex.old} follows {reindex.new}: remove {reindex.old}, "
        "or end it (gateway reindex --end, or after_switch over HTTP)"
    )


def _check_workers(workers: Mapping[str, Heartbeat]) -> None:
    if not workers:
        raise ConflictError("no worker is live")
    if old := sorted(worker for worker, beat in workers.items() if beat.writes < MIRRORS):
        raise ConflictError(
            f"{', '.join(old)}: this version of the worker cannot reindex; upgrade it first"
        )
