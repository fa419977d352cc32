"""Embedding the texts of queries, with processes that follow a script, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hedgerow.common.errors import EmbeddingError, ExpiredError, WorkError
from hedgerow.common.settings.embed import EmbedSettings
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.tasks import end
from hedgerow.gateway.embedding.query_embedder import QueryEmbedder
from tests.support.virtual_time import run_virtually

FUNCTION = "models:embed"


class Scripted:
    """Processes that take some time for each call.

    Attributes:
        calls: the texts of each call.
        loaded: the functions that were loaded.
        num_started: processes.
        num_closed: likewise.
        took_s: the time of a call.
        dies_on: texts that end the process.
        cannot_load: functions.
    """

    def __init__(self, took_s: float = 0.01) -> None:
        self.calls: list[list[str]] = []
        self.loaded: list[str] = []
        self.num_started = self.num_closed = 0
        self.took_s = took_s
        self.dies_on: set[str] = set()
        self.cannot_load: set[str] = set()

    async def start(self) -> "Scripted":
        """One more process."""
        self.num_started += 1
        return self

    async def load(self, function: str) -> None:
        """Note it."""
        self.loaded.append(function)
        if function in self.cannot_load:
            raise EmbeddingError(f"{function}: cannot import")

    async def embed(self, function: str, texts: list[str]) -> list[bytes]:
        """Follow the script."""
        self.calls.append(texts)
        await asyncio.sleep(self.took_s)
        if self.dies_on.intersection(texts):
            raise WorkError("the process that embeds has ended: signal 9")
        if "bad" in texts:
            raise EmbeddingError("models:embed raised ValueError: bad")
        return [f"{function} {text}".encode() for text in texts]

    async def close(self) -> None:
        """Note it."""
        self.num_closed += 1


def run(
    use: Callable[[QueryEmbedder], Awaitable[Any]],
    processes: Scripted,
    profiles: dict[str, RankProfile] | None = None,
    **settings: Any,
) -> Any:
    """Run `use` with an embedder over these processes."""

    async def main() -> Any:
        embedder = QueryEmbedder(
            EmbedSettings(**{"functions": [FUNCTION], **settings}), profiles or {}, processes.start
        )
        task = asyncio.create_task(embedder.run())
        try:
            await asyncio.sleep(0)
            return await use(embedder)
        finally:
            await end([task])

    return run_virtually(main())


def soon(s: float = 1.0) -> float:
    """A deadline."""
    return asyncio.get_running_loop().time() + s


async def ask(embedder: QueryEmbedder, text: str, party: str = "me", s: float = 1.0) -> bytes:
    """The vector of a text."""
    return await embedder.vector(FUNCTION, text, party, soon(s))


def test_the_functions_are_loaded_before_there_is_a_text() -> None:
    """Those of the settings and those of the rank profiles, each once."""
    processes = Scripted()

    async def use(_: QueryEmbedder) -> None:
        await asyncio.sleep(0.1)

    run(use, processes, {"a": RankProfile(embed="models:queries"), "b": RankProfile()})
    assert processes.loaded == [FUNCTION, "models:queries"]
    assert (processes.num_started, processes.num_closed) == (1, 1)


def test_without_functions_no_process_starts() -> None:
    """Those who do not embed pay nothing."""
    processes = Scripted()

    async def use(_: QueryEmbedder) -> None:
        await asyncio.sleep(1)

    run(use, processes, functions=[])
    assert processes.num_started == 0


def test_texts_that_wait_are_embedded_together() -> None:
    """While one is being embedded, those that come form the next call, up to `embed.batch`."""
    processes = Scripted()

    async def use(embedder: QueryEmbedder) -> list[bytes]:
        return await asyncio.gather(*(ask(embedder, text) for text in "abcde"))

    found = run(use, processes, batch=3)
    assert found == [f"{FUNCTION} {text}".encode() for text in "abcde"]
    assert sorted(map(len, processes.calls)) in ([2, 3], [1, 1, 3])


def test_a_text_is_embedded_once() -> None:
    """If several queries wait for it, and again when it is asked for later."""
    processes = Scripted()

    async def use(embedder: QueryEmbedder) -> None:
        await asyncio.gather(ask(embedder, "a"), ask(embedder, "a"))
        await ask(embedder, "a")

    run(use, processes)
    assert processes.calls == [["a"]]


def test_the_known_vectors_are_bounded() -> None:
    """The one that was not asked for the longest is forgotten."""
    processes = Scripted()

    async def use(embedder: QueryEmbedder) -> None:
        for text in ("a", "b", "a", "c", "a", "b"):
            await ask(embedder, text)

    run(use, processes, cached_texts=2)
    assert processes.calls == [["a"], ["b"], ["c"], ["b"]]


def test_a_query_does_not_wait_beyond_its_deadline() -> None:
    """It gets the error at its deadline, and its text is not embedded if its turn comes later."""
    processes = Scripted(took_s=0.5)

    async def use(embedder: QueryEmbedder) -> float:
        began = asyncio.get_running_loop().time()
        first = asyncio.create_task(ask(embedder, "a"))
        await asyncio.sleep(0.1)
        with pytest.raises(ExpiredError):
            await ask(embedder, "b", s=0.2)
        took_s = asyncio.get_running_loop().time() - began
        await first
        await ask(embedder, "c")
        return took_s

    assert run(use, processes) == pytest.approx(0.3)
    assert processes.calls == [["a"], ["c"]]


def test_a_text_on_which_the_function_fails_fails_alone() -> None:
    """The others of its call are embedded one by one."""
    processes = Scripted()

    async def use(embedder: QueryEmbedder) -> list[Any]:
        first = asyncio.create_task(ask(embedder, "first"))
        await asyncio.sleep(0.005)
        asked = [ask(embedder, text) for text in ("a", "bad", "b")]
        found = await asyncio.gather(*asked, return_exceptions=True)
        await first
        return found

    one, error, other = run(use, processes)
    assert (one, other) == (f"{FUNCTION} a".encode(), f"{FUNCTION} b".encode())
    assert isinstance(error, EmbeddingError)
    assert processes.num_started == 1


def test_a_process_that_ends_fails_its_texts_and_is_replaced() -> None:
    """The next text is embedded by the next process, after a pause."""
    processes = Scripted()
    processes.dies_on = {"poison"}

    async def use(embedder: QueryEmbedder) -> None:
        with pytest.raises(EmbeddingError, match="signal 9"):
            await ask(embedder, "poison")
        with pytest.raises(ExpiredError, match="signal 9"):  # says why it takes so long
            await ask(embedder, "a", s=0.2)
        assert await ask(embedder, "b", s=2.0) == f"{FUNCTION} b".encode()

    run(use, processes)
    assert processes.num_started == 2


def test_a_call_that_hangs_is_ended_with_its_process() -> None:
    """After `embed.timeout_s`; those who wait by then get the reason."""
    processes = Scripted(took_s=1000)

    async def use(embedder: QueryEmbedder) -> None:
        with pytest.raises(EmbeddingError, match="longer than 5 s"):
            await ask(embedder, "a", s=20)

    run(use, processes, timeout_s=5)
    assert processes.num_closed == processes.num_started == 1


def test_one_caller_has_at_most_half_of_the_room() -> None:
    """So that the others' texts still find some."""
    processes = Scripted(took_s=0.1)

    async def use(embedder: QueryEmbedder) -> None:
        first = asyncio.create_task(ask(embedder, "first"))
        await asyncio.sleep(0.01)
        mine = [asyncio.create_task(ask(embedder, text)) for text in ("a", "b")]
        await asyncio.sleep(0)
        with pytest.raises(EmbeddingError, match="too many"):
            await ask(embedder, "c")
        theirs = [asyncio.create_task(ask(embedder, text, "others")) for text in ("d", "e")]
        await asyncio.sleep(0)
        with pytest.raises(EmbeddingError, match="too many"):
            await ask(embedder, "f", "third")
        await asyncio.gather(first, *mine, *theirs)

    run(use, processes, max_waiting=4)


def test_a_reload_takes_new_processes_and_forgets_the_vectors() -> None:
    """They may be of another model."""
    processes = Scripted()

    async def use(embedder: QueryEmbedder) -> None:
        await ask(embedder, "a")
        embedder.use_profiles({"new": RankProfile(embed="models:new")})
        await ask(embedder, "a")

    run(use, processes)
    assert processes.calls == [["a"], ["a"]]
    assert (processes.num_started, processes.num_closed) == (2, 2)
    assert "models:new" in processes.loaded


def test_texts_are_released_at_the_end() -> None:
    """Nobody waits for an embedder that has stopped."""

    async def main() -> None:
        processes = Scripted(took_s=10)
        embedder = QueryEmbedder(EmbedSettings(functions=[FUNCTION]), {}, processes.start)
        task = asyncio.create_task(embedder.run())
        waiting = asyncio.create_task(ask(embedder, "a", s=100))
        await asyncio.sleep(1)
        await end([task])
        with pytest.raises(EmbeddingError, match="stops"):
            await waiting

    run_virtually(main())


def test_what_cannot_be_loaded_is_known() -> None:
    """With its reason, until it has been loaded; the others go on."""
    processes = Scripted()
    processes.cannot_load = {"models:gone"}

    async def use(embedder: QueryEmbedder) -> None:
        assert await ask(embedder, "a")
        assert embedder.broken == {"models:gone": "models:gone: cannot import"}
        processes.cannot_load.clear()
        embedder.use_profiles({})
        assert await ask(embedder, "b")
        assert embedder.broken == {}

    run(use, processes, functions=[FUNCTION, "models:gone"])


def test_how_texts_end_is_counted() -> None:
    """Each text of a query ends in one way; calls, their time and what waits are there, too."""
    processes = Scripted()

    async def use(embedder: QueryEmbedder) -> dict[str, Any] | None:
        await asyncio.gather(ask(embedder, "a"), ask(embedder, "b"))
        await ask(embedder, "a")
        with pytest.raises(EmbeddingError):
            await ask(embedder, "bad")
        with pytest.raises((EmbeddingError, ExpiredError)):
            await ask(embedder, "c", s=0.0)
        return embedder.to_json()

    found = run(use, processes)
    assert found is not None
    assert found.pop("seconds") > 0
    assert found == {
        "embedded": 2, "cached": 1, "expired": 1, "failed": 1, "refused": 0, "calls": 2,
        "waiting": 0,
    }  # fmt: skip


def test_without_functions_there_is_nothing_to_report() -> None:
    """The status of a gateway that embeds nothing does not mention it."""

    async def use(embedder: QueryEmbedder) -> dict[str, Any] | None:
        return embedder.to_json()

    assert run(use, Scripted(), functions=[]) is None
