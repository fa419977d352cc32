"""Tries a query on one shard before all are asked, unless a scorer is known to have survived it.

It applies to rank profiles with `canary`. Without it, a query that kills any scorer kills one on
every shard when it is asked for the first time, since nothing gives it away before.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.state.quarantine import fingerprint_of
from hedgerow.common.wire.messages import Kind, Reply, Request, pack_request
from hedgerow.gateway.policies.shard_result import NO_TIME, ShardResult
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.transport.messenger import Messenger

MOST_SEEN: Final = 20_000  # kinds of queries that are remembered as harmless; some MB
# `Failure.code`s which say that the query has killed scorers, and those which say that a scorer has
# survived it. Other codes, and silence, say nothing about the query.
_KILLED: Final = frozenset({"crashed", "quarantined"})
_SURVIVED: Final = frozenset({"ranking", "bad_request", "failed"})


class Canary:
    """Knows which queries need a trial; of each kind, one is tried at a time and the others wait.

    Gateways do not share what they have learnt: each tries a kind of query once. All of them try it
    on the same shard, so that the query can kill only the few scorers there.

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
        self._seen: dict[bytes, None] = {}  # the most recent last
        self._tried: dict[bytes, asyncio.Future[str]] = {}

    def use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        """From now on, try the queries of those of `profiles` that are marked."""
        self._profiles = frozenset(name for name, profile in profiles.items() if profile.canary)

    def trial(self, profile: str, payload: bytes) -> "Trial | None":
        """Return the trial of a query; None if its profile has no canary.

        Args:
            profile: the name of its rank profile.
            payload: its packed `SearchPayload`.
        """
        return Trial(self, fingerprint_of(payload)) if profile in self._profiles else None

    def is_seen(self, fingerprint: bytes) -> bool:
        """Whether a scorer is known to have survived such a query."""
        if fingerprint not in self._seen:
            return False
        self.learn(fingerprint)
        return True

    def learn(self, fingerprint: bytes) -> None:
        """Remember that a scorer has survived such a query."""
        self.forget(fingerprint)
        self._seen[fingerprint] = None
        if len(self._seen) > self._most_seen:
            del self._seen[next(iter(self._seen))]

    def forget(self, fingerprint: bytes) -> None:
        """Such a query has killed a scorer after all."""
        self._seen.pop(fingerprint, None)

    async def turn(self, fingerprint: bytes) -> str | None:
        """Wait while another query of the kind is being tried.

        Returns:
            None if it is the caller's turn to try the query, and then to call `end_turn`. Otherwise
            no trial is needed: the reason why the other's trial failed, or "" if it succeeded.
        """
        while (tried := self._tried.get(fingerprint)) is not None:
            await asyncio.wait([tried])
            if (reason := tried.result()) or self.is_seen(fingerprint):
                return reason
        self._tried[fingerprint] = asyncio.get_running_loop().create_future()
        return None

    def end_turn(self, fingerprint: bytes, reason: str) -> None:
        """End a trial; `reason` says why no other shard should be asked, or is "" if they may."""
        self._tried.pop(fingerprint).set_result(reason)


class Trial:
    """The trial of one query; call `close` when the query has ended."""

    def __init__(self, canary: Canary, fingerprint: bytes) -> None:
        self._canary = canary
        self._fingerprint = fingerprint
        self._asked: set[int] = set()

    async def first(
        self, request: Request, shards: tuple[int, ...], gather: Gather, deadline: float
    ) -> tuple[tuple[int, ...], Request]:
        """Ask one shard, if such a query must be tried, and wait for its reply.

        If its reply says nothing about the query (because it has lost its scorers, say), the next
        shard is tried.

        Args:
            request: the request.
            shards: the shards of the query; not empty.
            gather: collects the query's replies.
            deadline: until when to wait, on the event loop's clock, in s.

        Returns:
            The shards to ask now, and the request for them. All others have been asked, or their
            parts have ended.
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
            # The shard that was asked is late by itself; it must not count against the others.
            others = set(shards) - self._asked
            gather.end(Outcome.TIMED_OUT, "no time was left after the first try", NO_TIME, others)
            return (), request
        if reason:
            # A code that does not count against the shards in their breakers.
            gather.end(Outcome.FAILED, reason, "quarantined")
            return (), request
        if shards:
            gather.restart()  # the time of the trial does not count against the other shards
        now_us = self._canary.messenger.clock.server_us(asyncio.get_running_loop().time())
        return shards, replace(request, sent_at_us=now_us)

    def close(self, results: Mapping[int, ShardResult]) -> None:
        """End the trial with the query's results; a query that has killed must be tried again."""
        if any(part.code in _KILLED for part in results.values()):
            self._canary.forget(self._fingerprint)

    def _first_of(self, shards: tuple[int, ...]) -> int:
        return shards[int.from_bytes(self._fingerprint) % len(shards)]

    async def _try(
        self, request: Request, shards: tuple[int, ...], gather: Gather
    ) -> tuple[tuple[int, ...], str]:
        """Ask one shard; returns the shards that may be asked now, or why none may."""
        sink, message = _Watch(gather), pack_request(request)
        scatter = self._canary.messenger.transport.scatter
        while shards:
            shard = self._first_of(shards)
            self._asked.add(shard)
            gather.sent(scatter(Kind.SEARCH, request.query_id, (shard,), message, sink))
            part = await sink.end_of(shard)
            if part.code in _KILLED:
                return (), f"not asked: shard {shard}, which tries it first, says: {part.reason}"
            shards = tuple(shard for shard in shards if shard in gather.open)
            if part.outcome is Outcome.OK or part.code in _SURVIVED:
                self._canary.learn(self._fingerprint)
                break
        return shards, ""


class _Watch:
    """Passes replies on to a gather, and lets a caller wait for the end of a shard's part."""

    def __init__(self, gather: Gather) -> None:
        self._gather = gather
        self._changed = asyncio.Event()

    async def end_of(self, shard: int) -> ShardResult:
        """Wait until a shard's part has ended; returns how."""
        while shard not in self._gather.results:
            self._changed.clear()
            await self._changed.wait()
        return self._gather.results[shard]

    def on_reply(self, reply: Reply, worker: str, now: float) -> None:
        """A shard has answered."""
        self._gather.on_reply(reply, worker, now)
        self._changed.set()

    def on_unsent(self, shard: int, reason: str) -> None:
        """Redis did not take the request."""
        self._gather.on_unsent(shard, reason)
        self._changed.set()

    def on_lost(self, reason: str) -> None:
        """No reply can come any more."""
        self._gather.on_lost(reason)
        self._changed.set()
