"""Copies one shard into the logs of the two shards that replace it, and keeps them up to date.

    the store's documents, in one read transaction ► a mark with the transaction's position
        ► every later entry of the shard's log, with its id

Documents are entries 0-1, 0-2 and so on of the new logs; the mark and what follows have ids of the
shard's own log. So the newest id of a new log says how far it is, and a worker that goes on
after a crash needs to know nothing else:

- it is that of an entry of the shard's log: go on with the entry after it;
- it is 0-N: the documents were not all copied. They are all copied again, and those are removed
  that were copied and are gone since, by what the log has to say about them.

If every worker that is to serve the new shards serves this one, too, nothing is copied from the
store: they clone what they have (`cloner`), and the new logs begin with a mark.

An append names the newest id that it expects, so a copier that was thought dead does no harm.

What there was when the split began is copied at a pace (`copy_pace`), so that queries go first.
What is written since is not: copies that were slower than writes would never end.

What a failover has lost of the shard's log, and was copied, is put back at once (`copied_end`).

Until it is copied, an entry must stay in the shard's log. As a replica would, the copier records a
position for which the log is held: that of the copies, but never one that this worker's replica
has not reached, since replicas wait for each other's positions.
"""

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
)
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from hedgerow.common.errors import NewerVersionError, RedisUnavailableError, SplitError, WireError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.entries import START, Entry, position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.op_parts import NOTHING, ids_of, parts_of
from hedgerow.common.shard_log.operations import pack_op, unpack_op
from hedgerow.common.shard_log.sealing import Sealing
from hedgerow.common.splitting.rest import Rest
from hedgerow.common.state.layout import Split
from hedgerow.common.tasks import run_together
from hedgerow.shard_worker.splitting.clone_choice import LOOK_S, CloneChoice
from hedgerow.shard_worker.splitting.copied_end import CopiedEnd
from hedgerow.shard_worker.splitting.copy_pace import CopyPace
from hedgerow.shard_worker.splitting.shard_documents import ShardDocuments

READ_BYTES: Final = 1_000_000  # of the log at once
BLOCK_MS: Final = 500
ROOM_POLL_S: Final = 0.05
# Entries of a new log, of 64 KiB, that wait to be applied while documents are copied: they are in
# the memory of Redis, and come from all shards at once.
MOST_WAITING: Final = 64
HOLD_EVERY_S: Final = 1.0
LONGEST_TURN_S: Final = 5.0  # replicas that do not apply do not keep other shards from their turn
# How long copies wait for as many workers of the new shards as the old ones have, once these are
# placed. A replica that joins when the new log was trimmed needs a snapshot, and there may be none.
REPLICAS_WITHIN_S: Final = 30.0
PLACED_WITHIN: Final = 10.0  # of that time; on a busy machine, workers take long to start

_log = structlog.get_logger()


def held_by(target: int) -> str:
    """The name under which a log is held for the copier of a split, beside its replicas."""
    return f"copy-for-layout-{target}"


class Copier:
    """Copies one shard of the source."""

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        split: Split,
        shard: int,
        store: Path,
        *,
        applied: Callable[[], str | None],
        pace: CopyPace,
        clones: CloneChoice,
        replicas_within_s: float = REPLICAS_WITHIN_S,
    ) -> None:
        """Copy a shard that this worker serves.

        Args:
            control: Redis.
            keys: the names of keys of any layout.
            split: the split.
            shard: the shard of the source.
            store: the file of its store.
            applied: returns up to which entry of its log the shard's replica here has applied;
                None if it no longer serves it.
            pace: of all copiers of this process.
            clones: whether the new shards can be cloned; of all copiers of this process, too.
            replicas_within_s: how long replicas of the new shards are waited for.
        """
        source, target = split.source, split.target
        self._shard = shard
        self._store = store
        self._num_shards = target.num_shards
        self._new = (shard, shard + source.num_shards)
        self._holder = held_by(target.id)
        self._applied = applied
        self._pace = pace
        self._replicas_within_s = replicas_within_s
        self._began_at_ms = split.began_at_ms
        self._control = control
        self._keys = keys.of_layout(source.id)
        self._log = ShardLog(control, self._keys)
        self._new_log = ShardLog(control, keys.of_layout(target.id))
        self._copies = Sealing(control, keys.of_layout(target.id))
        self._clones = clones
        self._newest: dict[int, str] = {}
        self._copied = CopiedEnd(self._log, shard)
        self._held_at = -HOLD_EVERY_S

    async def run(self, check_lease: Callable[[], Awaitable[None]]) -> None:
        """Copy until cancelled.

        Args:
            check_lease: called before each step; raises if another worker copies the shard now.

        Raises:
            SplitError: the shard cannot be copied.
            RedisUnavailableError: there was no answer; run it again.
            sqlite3.Error, ConfigurationError: its store cannot be read now.
        """
        await check_lease()
        await run_together(self._copy(check_lease), self._copied.keep())

    async def _copy(self, check_lease: Callable[[], Awaitable[None]]) -> None:
        held = await self._hold_from()
        self._newest = {shard: await self._new_log.newest(shard) for shard in self._new}
        if not await self._leave_to_clones(check_lease):
            await self._wait_for_replicas(check_lease)
        trimmed = await self._log.trimmed(self._shard)
        unfinished = [
            shard for shard, newest in self._newest.items() if must_copy_documents(newest, trimmed)
        ]
        if unfinished:
            if held is None and any(self._newest[shard] != START for shard in unfinished):
                raise SplitError(f"the log of shard {self._shard} was no longer held for its copy")
            # What was trimmed all the same, just before it was held, is in every copy.
            after = max(held or trimmed, trimmed, key=position)
            await self._copy_documents(unfinished, after, check_lease)
        while True:
            await check_lease()
            await self._follow(check_lease)

    async def _leave_to_clones(self, check_lease: Callable[[], Awaitable[None]]) -> bool:
        """Begin the new logs without documents if all workers of the new shards can clone them.

        Returns:
            Whether they have begun so.
        """
        empty = [shard for shard, newest in self._newest.items() if newest == START]
        if not empty:
            return False
        begun = await self._begun_alone(empty)
        if begun is None and empty != list(self._new):
            return False
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + PLACED_WITHIN * self._replicas_within_s
        # This worker's replica is as far as the log is trimmed, at least, and others soon will be.
        while (begin := begun or self._applied()) is None or not await self._can_begin(begin):
            if self._clones.is_placed:
                give_up_at = min(give_up_at, loop.time() + self._replicas_within_s)
            if await self._are_followed(empty) or loop.time() >= give_up_at:
                return False
            await self._pause(check_lease, LOOK_S)
        if await self._are_followed(empty):
            return False
        if not await self._copies.begin_after(empty, begin, NOTHING):
            raise RedisUnavailableError(f"another worker copies shard {self._shard}")
        self._newest |= dict.fromkeys(empty, begin)
        _log.info("shard_left_to_clones", shard=self._shard, into=self._new, position=begin)
        return True

    async def _begun_alone(self, empty: list[int]) -> str | None:
        """Where one of the new logs has begun without documents, and the other has not.

        Its server failed then. As long as it has not begun, nothing is trimmed that comes after.
        """
        for shard in set(self._new).difference(empty):
            newest = self._newest[shard]
            is_without = await self._new_log.trimmed(shard) == newest
            is_followed = await self._are_followed(empty)
            if position(newest)[0] > 0 and is_without and not is_followed:
                return newest
        return None

    async def _are_followed(self, empty: list[int]) -> bool:
        """Whether a replica follows a log that has not begun: it needs the documents."""
        return any((await self._new_log.applied_of(empty)).values())

    async def _can_begin(self, begin: str) -> bool:
        """Whether the new logs can begin at a position; an empty log is followed as it is."""
        has_begun = position(begin)[0] > 0
        return has_begun and await self._clones.are_possible(self._shard, self._new)

    async def _wait_for_replicas(self, check_lease: Callable[[], Awaitable[None]]) -> None:
        """Before anything is copied, wait for the replicas of the new shards, but not for ever."""
        new = [shard for shard, newest in self._newest.items() if newest == START]
        wanted = len((await self._log.applied(self._shard)).keys() - {self._holder})
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._replicas_within_s
        while new and loop.time() < give_up_at:
            found = await self._new_log.applied_of(new)
            if all(len(replicas) >= wanted for replicas in found.values()):
                return
            await self._pause(check_lease)

    async def _hold_from(self) -> str | None:
        """Hold the log; returns the position from which it was held before, None if it was not."""
        held = (await self._log.applied(self._shard)).get(self._holder)
        if held is None:
            trimmed = await self._log.trimmed(self._shard)
            await self._log.record_applied(self._shard, self._holder, trimmed)
        return held

    async def _copy_documents(
        self, shards: list[int], held: str, check_lease: Callable[[], Awaitable[None]]
    ) -> None:
        is_again = any(self._newest[shard] != START for shard in shards)
        if is_again:  # the store must be at least as far as the one that was copied before
            await self._wait_until_applied(check_lease)
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, "split")  # a transaction is its thread's
        opening = thread.submit(ShardDocuments, self._store, self._num_shards)
        try:
            documents = await asyncio.wrap_future(opening)
            rest = documents.operations()
            while ops := await loop.run_in_executor(thread, _some, rest, self._pace.turn_bytes):
                async with self._turn(shards, check_lease):
                    await self._append_ops(shards, ops)
            if is_again:
                touched = await self._touched(held, documents.position)
                gone = await loop.run_in_executor(thread, documents.missing, touched)
                await self._append_ops(shards, gone)
        finally:
            # After what the thread still does: a copy can be cancelled while it opens the store.
            await asyncio.wrap_future(thread.submit(_close, opening))
            thread.shutdown(wait=False)
        for shard in shards:
            await self._append(shard, [(documents.position, NOTHING)])
        _log.info("shard_copied", shard=self._shard, into=shards, position=documents.position)

    async def _touched(self, after: str, upto: str) -> dict[str, set[str]]:
        """Collection uid → ids of the documents that entries of the log may have changed."""
        touched: dict[str, set[str]] = {}
        while position(after) < position(upto):
            entries = await self._log.read(self._shard, after, READ_BYTES)
            trimmed = await self._log.trimmed(self._shard)
            if not entries or position(trimmed) > position(after):
                raise SplitError(f"the log of shard {self._shard} was trimmed while it was copied")
            for entry in entries:
                if position(entry.id) > position(upto):
                    return touched
                with suppress(WireError):  # replicas skip it
                    for uid, ids in ids_of(unpack_op(entry.op)).items():
                        touched.setdefault(uid, set()).update(ids)
            after = entries[-1].id
        return touched

    async def _wait_until_applied(self, check_lease: Callable[[], Awaitable[None]]) -> None:
        """Wait until this worker's replica has applied all that the log has now."""
        (last,) = await Sealing(self._control, self._keys).ends([self._shard])
        while (applied := self._applied()) is None or position(applied) < position(last):
            await self._pause(check_lease)

    async def _append_ops(self, shards: list[int], ops: Iterable[tuple[int | None, bytes]]) -> None:
        all_ops = list(ops)
        for shard in shards:
            own = [op for of, op in all_ops if of is None or of == shard]
            await self._append(shard, _numbered(self._newest[shard], own))

    async def _follow(self, check_lease: Callable[[], Awaitable[None]]) -> None:
        """Copy what comes next in the shard's log, if it comes soon."""
        after = min(self._newest.values(), key=position)
        is_old = position(after)[0] < self._began_at_ms
        most_bytes = self._pace.turn_bytes if is_old else READ_BYTES
        entries = await self._log.read(self._shard, after, most_bytes, BLOCK_MS)
        trimmed = await self._log.trimmed(self._shard)
        is_there = entries and position(entries[0].id) <= position(trimmed)
        if position(trimmed) > position(after) and not is_there:
            text = f"the log of shard {self._shard} was trimmed to {trimmed}, and copied to {after}"
            # Before anything is copied, it may still begin with the documents.
            raise RedisUnavailableError(text) if after == START else SplitError(text)
        if entries and position(entries[0].id)[0] < self._began_at_ms:
            async with self._turn(self._new, check_lease):
                await self._append_parts(entries)
        else:
            await self._append_parts(entries)
        await self._hold()

    async def _append_parts(self, entries: list[Entry]) -> None:
        for shard in self._new:
            newest = position(self._newest[shard])
            own = [(one.id, self._part(one, shard)) for one in entries if position(one.id) > newest]
            await self._append(shard, own)
        self._copied.add(entries)

    def _part(self, entry: Entry, shard: int) -> bytes:
        try:
            op = unpack_op(entry.op)
        except NewerVersionError as error:
            raise SplitError(f"shard {self._shard}: {error}") from error
        except WireError:
            return entry.op  # replicas skip it
        parts = parts_of(op, self._num_shards)
        if parts is None:
            return entry.op
        return pack_op(parts[shard]) if shard in parts else NOTHING

    async def _append(self, shard: int, entries: list[tuple[str, bytes]]) -> None:
        if not entries:
            return
        if not await self._copies.copy(shard, self._newest[shard], entries):
            newest = await self._new_log.newest(shard)
            if newest != entries[-1][0]:
                raise RedisUnavailableError(f"another worker copies shard {self._shard}")
        self._newest[shard] = entries[-1][0]

    async def _hold(self) -> None:
        """Let the log be trimmed as far as it is copied."""
        now = asyncio.get_running_loop().time()
        if now - self._held_at < HOLD_EVERY_S or (applied := self._applied()) is None:
            return
        self._held_at = now
        copied = min(self._newest.values(), key=position)
        if position(copied) > (0, 0):
            await self._copies.confirm(self._new)  # else a failover could lose what is trimmed here
            held = min(copied, applied, key=position)
            await self._log.record_applied(self._shard, self._holder, held)

    @asynccontextmanager
    async def _turn(
        self, shards: Collection[int], check_lease: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Copy in the block when it is this shard's turn; then wait as long as the pace says."""
        loop, pace = asyncio.get_running_loop(), self._pace

        async def pause() -> None:
            await self._pause(check_lease)
            await pace.keep(self._shard)

        async with pace.turn(self._shard, partial(self._pause, check_lease)):
            await check_lease()
            began = loop.time()
            yield
            if pace.share < 1.0:
                while not await self._is_applied(shards) and loop.time() - began < LONGEST_TURN_S:
                    await pause()
                rest = Rest.after(began, loop.time(), pace.share)
                pace.adapt(loop.time() - began)
                waiting = (await self._log.lengths([self._shard]))[self._shard]
                is_urgent = waiting > pace.most_log_entries
                while not rest.is_over(loop.time(), is_busy=pace.is_busy(), is_urgent=is_urgent):
                    await pause()
        await self._wait_for_room(shards, check_lease)

    async def _is_applied(self, shards: Collection[int]) -> bool:
        """Whether all replicas of new shards have applied what was copied."""
        applied = await self._new_log.applied_of(list(shards))
        return all(
            applied[shard]
            and min(map(position, applied[shard].values())) >= position(self._newest[shard])
            for shard in shards
        )

    async def _pause(
        self, check_lease: Callable[[], Awaitable[None]], pause_s: float = ROOM_POLL_S
    ) -> None:
        await asyncio.sleep(pause_s)
        await check_lease()

    async def _wait_for_room(
        self, shards: Collection[int], check_lease: Callable[[], Awaitable[None]]
    ) -> None:
        while max((await self._new_log.lengths(list(shards))).values()) > MOST_WAITING:
            await self._pause(check_lease)


def _close(opening: Future[ShardDocuments]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def must_copy_documents(newest: str, trimmed: str) -> bool:
    """Whether a new shard's log lacks documents that the old log no longer has.

    Args:
        newest: the newest id of the new log.
        trimmed: up to where the old log was trimmed.
    """
    if newest == START and trimmed == START:
        return False  # the old log has everything
    return position(newest)[0] == 0


def _some(
    rest: Iterator[tuple[int | None, bytes]], most_bytes: int
) -> list[tuple[int | None, bytes]]:
    """The next operations, of about `most_bytes`."""
    taken, size = [], 0
    for one in islice(rest, 100):
        taken.append(one)
        size += len(one[1])
        if size >= most_bytes:
            break
    return taken


def _numbered(newest: str, ops: list[bytes]) -> list[tuple[str, bytes]]:
    """Operations with ids that follow `newest`, which has no time."""
    _, number = position(newest)
    return [(f"0-{number + 1 + offset}", op) for offset, op in enumerate(ops)]
