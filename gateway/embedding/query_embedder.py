"""Turns the texts of queries into vectors: texts that wait together in one call.

Each process embeds one batch at a time. The vectors of the last texts are kept. A text for which
several queries wait is embedded once, and one whose queries have reached their deadlines not at
all.
"""

import asyncio
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any, Final

import structlog

from hedgerow.common.errors import EmbeddingError, ExpiredError, WorkError
from hedgerow.common.settings.embed import EmbedSettings
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.tasks import run_together
from hedgerow.gateway.embedding.embed_process import EmbedProcess, Embeds

_PAUSE_S: Final = 0.5  # after a process that ended, before the next; doubled each time
_MAX_PAUSE_S: Final = 30.0
_EXPIRED: Final = "its time had passed before its turn"

_log = structlog.get_logger()

# How a query's text may end: embedded for it or another query that waited, known from before, not
# embedded by its deadline, failed, or refused since too many wait.
ENDS: Final = ("embedded", "cached", "expired", "failed", "refused")

Key = tuple[str, str]  # function and text


class _Text:
    """A text that waits for its vector, or is being embedded."""

    __slots__ = ("done", "function", "party", "text", "until")

    def __init__(self, key: Key, party: str) -> None:
        self.function, self.text = key
        self.party = party
        # The vector, or the reason for there being none.
        self.done: asyncio.Future[bytes | str] = asyncio.get_running_loop().create_future()
        self.until = -math.inf  # the last deadline of those who wait

    def end(self, outcome: bytes | str) -> None:
        if not self.done.done():
            self.done.set_result(outcome)


class QueryEmbedder:
    """Embeds the texts of one gateway's queries.

    Attributes:
        broken: the functions that could not be loaded when it was last tried, each with the reason.
    """

    def __init__(
        self,
        settings: EmbedSettings,
        profiles: Mapping[str, RankProfile],
        start: Callable[[], Awaitable[Embeds]] = EmbedProcess.start,
    ) -> None:
        """Embed while `run` runs.

        Args:
            settings: how many texts at a time, and how long.
            profiles: the rank profiles. Their functions, and those of the settings, are loaded at
                the start; without any, no process starts before there is a text.
            start: starts a process that embeds.
        """
        self.broken: dict[str, str] = {}
        self._settings = settings
        self._functions = _functions(settings, profiles)
        self._version = 0  # of the functions
        self._start = start
        self._loop = asyncio.get_running_loop()
        self._cache: OrderedDict[Key, bytes] = OrderedDict()
        self._known: dict[Key, _Text] = {}  # those that wait, and those that are being embedded
        self._queue: deque[_Text] = deque()
        self._parties: Counter[str] = Counter()  # texts in the queue
        self._has_texts = asyncio.Event()
        self._counts: Counter[str] = Counter()  # how the texts of queries ended, and calls
        self._seconds = 0.0  # that calls took
        self._failure = ""  # why the last process has ended, until another one answers

    async def vector(self, function: str, text: str, party: str, deadline: float) -> bytes:
        """Embed a text.

        Args:
            function: `module:function`.
            text: the text.
            party: the caller's; each has its share of the texts that wait.
            deadline: when the vector must be there, on the loop's clock.

        Returns:
            The vector as little-endian float32.

        Raises:
            ExpiredError: the deadline came first.
            EmbeddingError: the function failed, or too many texts wait.
        """
        key = function, text
        known = self._cache.get(key)
        if known is not None:
            self._cache.move_to_end(key)
            self._counts["cached"] += 1
            return known
        waiting = self._known.get(key) or self._enqueue(key, party)
        waiting.until = max(waiting.until, deadline)
        await asyncio.wait((waiting.done,), timeout=max(0.0, deadline - self._loop.time()))
        if not waiting.done.done():
            self._counts["expired"] += 1
            why = f" ({self._failure})" if self._failure else ""
            raise ExpiredError(f"the query's text was not embedded in time{why}")
        outcome = waiting.done.result()
        if isinstance(outcome, str):
            self._counts["expired" if outcome == _EXPIRED else "failed"] += 1
            raise EmbeddingError(outcome)
        self._counts["embedded"] += 1
        return outcome

    def to_json(self) -> dict[str, Any] | None:
        """The counts since the start, for the status; None if there is nothing to embed."""
        if not self._functions and not self._counts:
            return None
        ends = {end: self._counts[end] for end in ENDS}
        calls, seconds = self._counts["calls"], round(self._seconds, 3)
        return {**ends, "calls": calls, "seconds": seconds, "waiting": len(self._queue)}

    def use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        """Import all functions again, in new processes, and forget what was embedded before."""
        self._functions = _functions(self._settings, profiles)
        self._version += 1
        self._cache.clear()
        self._has_texts.set()

    async def run(self) -> None:
        """Run the processes until cancelled."""
        await run_together(*(self._work() for _ in range(self._settings.processes)))

    def _enqueue(self, key: Key, party: str) -> _Text:
        most = self._settings.max_waiting
        if len(self._queue) >= most:
            self._drop_expired()
        if len(self._queue) >= most or self._parties[party] >= max(1, most // 2):
            self._counts["refused"] += 1
            raise EmbeddingError("too many texts wait to be embedded (embed.max_waiting)")
        waiting = self._known[key] = _Text(key, party)
        self._queue.append(waiting)
        self._parties[party] += 1
        self._has_texts.set()
        return waiting

    async def _work(self) -> None:
        """Keep one process, and give it one batch after another."""
        failures = 0
        if not self._functions:
            await self._has_texts.wait()
        while True:
            process: Embeds | None = None
            try:
                version = self._version
                process = await self._start()
                await self._load(process)
                while batch := await self._next_batch(version):
                    await self._serve(process, batch)
                    failures, self._failure = 0, ""
                continue
            except Exception as error:  # noqa: BLE001 - searches by text must go on, whatever it is
                failures += 1
                self._failure = str(error) or type(error).__name__
                _log.error("embedding_process_ended", reason=self._failure, failures=failures)
            finally:
                if process is not None:
                    await process.close()
            await asyncio.sleep(min(_MAX_PAUSE_S, _PAUSE_S * 2 ** min(failures - 1, 16)))

    async def _load(self, process: Embeds) -> None:
        """Load all functions; a broken one is logged, and its texts fail one by one."""
        for function in self._functions:
            try:
                await self._within_limit(process.load(function), function)
                self.broken.pop(function, None)
            except EmbeddingError as error:
                self.broken[function] = str(error)
                _log.error("embedding_function_broken", function=function, reason=str(error))

    async def _next_batch(self, version: int) -> list[_Text]:
        """Wait for texts; returns those of one function, first come first served.

        Returns:
            Nothing if there are functions of another version.
        """
        while version == self._version:
            self._drop_expired()
            if self._queue:
                function = self._queue[0].function
                same = (text for text in self._queue if text.function == function)
                batch = list(islice(same, self._settings.batch))
                for text in batch:
                    self._queue.remove(text)
                    self._left(text)
                return batch
            self._has_texts.clear()
            await self._has_texts.wait()
        return []

    async def _serve(self, process: Embeds, batch: list[_Text]) -> None:
        """Embed a batch; whatever happens, none of its texts waits any longer."""
        try:
            await self._embed(process, batch)
        except BaseException as error:
            for text in batch:
                self._forget(text, str(error) or "the gateway stops")
            raise

    async def _embed(self, process: Embeds, batch: list[_Text]) -> None:
        """Embed a batch; if the function fails on it, text by text."""
        function = batch[0].function
        started = self._loop.time()
        try:
            vectors = await self._within_limit(
                process.embed(function, [text.text for text in batch]), function
            )
        except EmbeddingError as error:
            if len(batch) == 1:
                self._forget(batch[0], str(error))
                return
            vectors = []
        finally:
            self._counts["calls"] += 1
            self._seconds += self._loop.time() - started
        for text in batch[len(vectors) :]:
            await self._embed(process, [text])
        for text, vector in zip(batch, vectors, strict=False):
            self._keep((text.function, text.text), vector)
            self._forget(text, vector)

    async def _within_limit(self, call: Awaitable[object], function: str) -> list[bytes]:
        limit_s = self._settings.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                found: list[bytes] = await call  # type: ignore[assignment]
        except TimeoutError:
            raise WorkError(
                f"{function} took longer than {limit_s:g} s (embed.timeout_s)"
            ) from None
        return found

    def _drop_expired(self) -> None:
        """Remove the texts from the queue whose queries have reached their deadlines."""
        now = self._loop.time()
        expired = [text for text in self._queue if text.until <= now]
        self._queue = deque(text for text in self._queue if text.until > now)
        for text in expired:
            self._left(text)
            self._forget(text, _EXPIRED)

    def _left(self, text: _Text) -> None:
        """A text is no longer in the queue."""
        self._parties[text.party] -= 1
        if not self._parties[text.party]:
            del self._parties[text.party]

    def _forget(self, text: _Text, outcome: bytes | str) -> None:
        key = text.function, text.text
        if self._known.get(key) is text:
            del self._known[key]
        text.end(outcome)

    def _keep(self, key: Key, vector: bytes) -> None:
        self._cache[key] = vector
        if len(self._cache) > self._settings.cached_texts:
            self._cache.popitem(last=False)


def _functions(settings: EmbedSettings, profiles: Mapping[str, RankProfile]) -> list[str]:
    """All functions that embed, of the settings and of the rank profiles."""
    of_profiles = (profile.embed for profile in profiles.values())
    return sorted({*settings.functions, *filter(None, of_profiles)})
