"""Tries a query that no scorer is known to have survived on one shard, before all are asked.

For rank profiles with `canary`. Without it, a query that kills whatever scorer runs it kills one on
every shard the first time it is asked: nothing shows it before they are dead.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.settings import RankProfile
from hedgerow.common.state.quarantine import fingerprint_of
from hedgerow.common.wire.messages import Kind, Reply, Request, pack_request
from hedgerow.gateway.policies.shard_result import NO_TIME, ShardResult
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.transport.messenger import Messenger

MOST_SEEN: Final = 20_000  # kinds of queries that are remembered to be harmless; some MB
# `Failure.code`s by which a shard says that the query has killed scorers, and those by which it
# says that a scorer has run it and lives. Others, and silence, say nothing of the query.
_KILLED: Final = frozenset({"crashed", "quarantined"})
_SURVIVED: Final = frozenset({"ranking", "bad_request", "failed"})


class Canary:
    """Knows which queries need a trial; one of a kind at a time has it, and the others wait.

    What one gateway has seen no other knows: each tries a kind of query once. All of them try it on
    the same shard, so that the few scorers there are all that it can kill.

    Attributes:
        messenger: the way to the shards.
    """

    def __init__(
        self,
        profiles: Mapping[str, RankProfile],
        messenger: Messenger,
        most_seen: int = MOST_SEEN,
    ) -> None:
        """Try the queries of `profiles` that are marked, and remember `most_seen` kinds of them."""
        self.messenger = messenger
        self.use_profiles(profiles)
        self._most_seen = most_seen
        self._seen: dict[bytes, None] = {}  # the last asked at the end
        self._tried: dict[bytes, asyncio.Future[str]] = {}

    def use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        """From now on, try the queries of those of `profiles` that are marked."""
        self._profiles = frozenset(name for name, profile in profiles.items() if profile.canary)

    def trial(self, profile: str, payload: bytes) -> "Trial | None":
        """What a query must go through; None when its profile is not marked.

        Args:
            profile: name of its rank profile.
            payload: its packed `SearchPayload`.
        """
        return Trial(self, fingerprint_of(payload)) if profile in self._profiles else None

    def is_seen(self, fingerprint: bytes) -> bool:
        """Whether a scorer has survived such a query, as far as is remembered."""
        if fingerprint not in self._seen:
            return False
        self.learn(fingerprint)
        return True

    def learn(self, fingerprint: bytes) -> None:
        """A scorer has survived it."""
        self.forget(fingerprint)
        self._seen[fingerprint] = None
        if len(self._seen) > self._most_seen:
            del self._seen[next(iter(self._seen))]

    def forget(self, fingerprint: bytes) -> None:
        """It has killed after all."""
        self._seen.pop(fingerprint, None)

    async def turn(self, fingerprint: bytes) -> str | None:
        """Wait while another query of the kind is being tried.

        Returns:
            None when it is the caller's turn, who must `end_turn`; else why none is needed: the
            reason that the other's trial has ended badly, or "" when it has ended well.
        """
        while (tried := self._tried.get(fingerprint)) is not None:
            await asyncio.wait([tried])
            if (reason := tried.result()) or self.is_seen(fingerprint):
                return reason
        self._tried[fingerprint] = asyncio.get_running_loop().create_future()
        return None

    def end_turn(self, fingerprint: bytes, reason: str) -> None:
        """A trial is over; `reason` says why no other shard should be asked, if so."""
        self._tried.pop(fingerprint).set_result(reason)


class Trial:
    """One query's way; `close` when the query has ended."""

    def __init__(self, canary: Canary, fingerprint: bytes) -> None:
        self._canary = canary
        self._fingerprint = fingerprint
        self._asked: set[int] = set()

    async def first(
        self, request: Request, shards: tuple[int, ...], gather: Gather, deadline: float
    ) -> tuple[tuple[int, ...], Request]:
        """Ask one shard, if such a query must be tried, and wait for its reply.

        A shard that says nothing of the query (it has lost its scorers, say) is followed by the
        next.

        Args:
            request: what is asked.
            shards: those that the query is for; not empty.
            gather: the query's.
            deadline: until when to wait, an instant of the loop's time, in s.

        Returns:
            The shards that are to be asked now, and for what. The parts of all others have been
            asked for, or have ended.
        """
        if self._canary.is_seen(self._fingerprint):
            return shards, request
        try:
            async with asyncio.timeout_at(deadline):
                reason = await self._canary.turn(self._fingerprint)
                if reason is None:
                    reason = ""
                    try:
                        shards, reason = await self._try(request, shards, gather)
                    finally:
                        self._canary.end_turn(self._fingerprint, reason)
        except TimeoutError:
            # The one that was asked is late by itself; no breaker blames the others.
            others = set(shards) - self._asked
            gather.end(Outcome.TIMED_OUT, "no time was left after the first try", NO_TIME, others)
            return (), request
        if reason:
            # Of the codes the one that no breaker takes for its shard's failure.
            gather.end(Outcome.FAILED, reason, "quarantined")
            return (), request
        if shards:
            gather.restart()  # the time of the trial is not theirs
        now_us = self._canary.messenger.clock.server_us(asyncio.get_running_loop().time())
        return shards, replace(request, sent_at_us=now_us)

    def close(self, results: Mapping[int, ShardResult]) -> None:
        """The query has ended so; one that has killed must be tried again the next time."""
        if any(part.code in _KILLED for part in results.values()):
            self._canary.forget(self._fingerprint)

    def _first_of(self, shards: tuple[int, ...]) -> int:
        return shards[int.from_bytes(self._fingerprint) % len(shards)]

    async def _try(
        self, request: Request, shards: tuple[int, ...], gather: Gather
    ) -> tuple[tuple[int, ...], str]:
        """Ask one; returns the shards that may be asked now, or why none may."""
        sink, message = _Watch(gather), pack_request(request)
        scatter = self._canary.messenger.transport.scatter
        while shards:
            shard = self._first_of(shards)
            self._asked.add(shard)
            gather.sent(scatter(Kind.SEARCH, request.query_id, (shard,), message, sink))
            part = await sink.end_of(shard)
            if part.code in _KILLED:
                return (), f"not asked: shard {shard}, which tries it first, says: {part.reason}"
            shards = tuple(one for one in shards if one in gather.open)
            if part.outcome is Outcome.OK or part.code in _SURVIVED:
                self._canary.learn(self._fingerprint)
                break
        return shards, ""


class _Watch:
    """Passes replies on to a gather, and tells when a shard's part has ended."""

    def __init__(self, gather: Gather) -> None:
        self._gather = gather
        self._changed = asyncio.Event()

    async def end_of(self, shard: int) -> ShardResult:
        """Wait for the end of a shard's part."""
        while shard not in self._gather.results:
            self._changed.clear()
            await self._changed.wait()
        return self._gather.results[shard]

    def on_reply(self, reply: Reply, worker: str) -> None:
        """A shard has answered."""
        self._gather.on_reply(reply, worker)
        self._changed.set()

    def on_unsent(self, shard: int, reason: str) -> None:
        """Redis did not take the request."""
        self._gather.on_unsent(shard, reason)
        self._changed.set()

    def on_lost(self, reason: str) -> None:
        """No reply can come any more."""
        self._gather.on_lost(reason)
        self._changed.set()
