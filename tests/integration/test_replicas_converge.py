"""Two replicas of a shard, real workers, against a dictionary: whatever happens to them in between.

One cluster bears all examples, since a worker takes a second to start: each goes on from where the
one before has ended, with the same documents and the same dictionary.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hedgerow.common.shard_log.document_version import version_of
from hedgerow.common.shard_log.operations import Write, pack_op
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import Hit
from hedgerow.gateway.writes.condition import new_token
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.text_index import TextIndex
from tests.support.clusters import Cluster, all_live, ask, gateway_to
from tests.support.processes import kill_all_of
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

NUM_EXAMPLES = 10
COLLECTION = "books"
WORDS = ("ash", "birch", "cedar", "elder")
REPLICAS = (0, 1)

Document = dict[str, Any]


class Put(NamedTuple):
    """Documents are put in, or replaced: number of the id → its words."""

    documents: dict[int, str]


class Remove(NamedTuple):
    """A document goes, if it is there."""

    number: int


class WriteIf(NamedTuple):
    """A document is replaced or removed on a condition; its entry is perhaps in the log twice.

    `is_right`: whether the condition is that the document is as it is, or another.
    """

    number: int
    words: str | None
    is_right: bool
    num_copies: int


class Kill(NamedTuple):
    """A replica's worker is killed (SIGKILL), if it lives, a little after the step before.

    With all of its processes: an indexer that is left alone would end its batch.
    """

    replica: int
    after_ms: int


class Restart(NamedTuple):
    """A replica's worker is started, if it is dead."""

    replica: int


Step = Put | Remove | WriteIf | Kill | Restart

numbers = st.integers(0, 40)  # few, so that ids are written again and again
words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
writes = (
    st.dictionaries(numbers, words, min_size=1, max_size=30).map(Put)
    | numbers.map(Remove)
    | st.builds(WriteIf, numbers, st.none() | words, st.booleans(), st.integers(1, 2))
)
deaths = st.builds(Kill, st.sampled_from(REPLICAS), st.sampled_from((0, 0, 3, 10, 30)))
# A write between any two of the other steps: what a replica may miss, or apply twice.
schedules = st.lists(
    # The first alternatives are those of the simplest example, which is always tried.
    st.tuples(writes, st.one_of(deaths, writes, st.sampled_from(REPLICAS).map(Restart))),
    min_size=2,
    max_size=5,
).map(lambda pairs: [step for pair in pairs for step in pair])


class Pair(Cluster):
    """Both workers serve the one shard."""

    def shards_of(self, worker: int) -> list[int]:
        """The only one."""
        return [0]


@dataclass
class Story:
    """The cluster, and the dictionary that it must be like."""

    cluster: Pair
    gateway: Gateway
    uid: str
    model: dict[str, Document] = field(default_factory=dict)
    alive: set[int] = field(default_factory=lambda: set(REPLICAS))
    num_steps: dict[str, int] = field(default_factory=dict)

    async def play(self, steps: list[Step]) -> None:
        """Do what one example says, and then compare."""
        for step in steps:
            await self._do(step)
        for replica in set(REPLICAS) - self.alive:
            await self._do(Restart(replica))
        await self.until_both_serve()
        assert (await self.gateway.documents.load(COLLECTION, lines({}), "applied")).is_applied
        for replica in REPLICAS:
            assert self.stored(replica) == self.model, f"replica {replica}"
            assert self.indexed(replica) == sorted(self.model), f"replica {replica}"
        for word in WORDS:
            one, other = await self.answers(word)
            assert {hit.id: hit.fields for hit in one} == self.matches(word)
            assert {hit.id: hit.fields for hit in other} == self.matches(word)

    async def _do(self, step: Step) -> None:
        name = type(step).__name__
        self.num_steps[name] = self.num_steps.get(name, 0) + 1
        match step:
            case Put(documents):
                report = await self.gateway.documents.load(COLLECTION, lines(documents), "logged")
                assert report.accepted == len(documents)
                self.model.update((one["id"], one) for one in of(documents))
            case Remove(number):
                await self.gateway.documents.delete(COLLECTION, f"d{number}", "logged")
                self.model.pop(f"d{number}", None)
            case WriteIf():
                await self._write_if(step)
            case Kill(replica, after_ms) if replica in self.alive:
                await asyncio.sleep(after_ms / 1000)
                kill_all_of(self.cluster.workers[replica].pid)
                await asyncio.to_thread(self.cluster.kill, replica)
                self.alive.remove(replica)
            case Restart(replica) if replica not in self.alive:
                self.cluster.start(replica)
                self.alive.add(replica)
            case _:
                pass

    async def _write_if(self, step: WriteIf) -> None:
        """Log a conditional write, as a gateway does; whether it is done is for each replica."""
        one = f"d{step.number}"
        before, after = self.model.get(one), None
        if step.words is not None:
            after = {"id": one, "title": step.words}
        expected = version_of(encoded(before)) if step.is_right else version_of(b"another")
        op = pack_op(Write(self.uid, one, encoded(after), expected, new_token()))
        await self.gateway.documents._log.append_many([(0, op)] * step.num_copies)
        if step.is_right:
            self.model.pop(one, None)
            if after is not None:
                self.model[one] = after

    async def until_both_serve(self) -> None:
        """Wait until the gateway sees both workers that were last started, up to date."""
        pids = {process.pid for process in self.cluster.workers.values()}

        def do_serve() -> bool:
            workers = self.gateway._membership.workers.values()
            return {worker.pid for worker in workers if 0 in worker.shards} == pids

        await until(do_serve)

    def _folder(self, replica: int) -> Path:
        return self.cluster.data(replica) / "shards" / "0"

    def stored(self, replica: int) -> dict[str, Document]:
        """What a replica's store holds."""
        store = Store.open(self._folder(replica) / "store.sqlite", read_only=True)
        try:
            return {one: json.loads(body) for one, body in store.scan(self.uid)}
        finally:
            store.close()

    def indexed(self, replica: int) -> list[str]:
        """The ids that a replica's text index finds, sorted; padding has none."""
        index = TextIndex.open(self._folder(replica) / self.uid)
        every = index.parse_native("*")
        hits = index.searcher.search(every, max(index.searcher.num_docs, 1)).hits
        ids = index.ids([address for _, address in hits])
        return sorted(one for one in ids if one is not None)

    def matches(self, word: str) -> dict[str, Document]:
        """The documents that have a word."""
        return {key: one for key, one in self.model.items() if word in one["title"].split()}

    async def answers(self, query: str) -> list[list[Hit]]:
        """What each of the replicas answers, by itself."""
        found: dict[str, list[Hit]] = {}

        async def have_both() -> bool:
            result = await ask(
                self.gateway, COLLECTION, query, k=100, explain=True, deadline_ms=20_000.0
            )
            assert result.coverage.is_full
            found[result.detail[0].worker] = result.hits
            return len(found) == 2

        await until(have_both)
        return [found[worker] for worker in sorted(found)]

    async def do_score_alike(self, queries: tuple[str, ...]) -> bool:
        """Whether both give each hit the same score, to what whole words of padding can do."""
        for query in queries:
            one, other = [{hit.id: hit.score for hit in hits} for hits in await self.answers(query)]
            assert one.keys() == other.keys()
            if any(abs(score - other[key]) > 1e-3 * score for key, score in one.items()):
                return False
        return True

    async def is_settled(self) -> bool:
        """Whether both rank by the newest term statistics."""
        (one,) = (await self.gateway.status())["collections"]
        return bool(one["statistics"]["is_current"] and one["statistics"]["is_spread"])


def encoded(document: Document | None) -> bytes | None:
    """A document as it is stored."""
    return None if document is None else msgspec.json.encode(document)


def of(documents: dict[int, str]) -> list[Document]:
    """The documents that a step names."""
    return [{"id": f"d{number}", "title": title} for number, title in documents.items()]


async def lines(documents: dict[int, str]) -> AsyncIterator[bytes]:
    """The same as a stream."""
    for one in of(documents):
        yield json.dumps(one).encode() + b"\n"


async def test_replicas_converge(own_server: RedisServer, tmp_path: Path) -> None:
    """After any writes, kills and restarts both replicas hold and answer what a dictionary says.

    At last, with the term statistics settled, they give the same hits the same scores.
    """
    cluster = Pair(own_server, tmp_path, num_shards=1)
    cluster.environment["HEDGEROW_WORKER__STATISTICS_INTERVAL_S"] = "1"
    try:
        for replica in REPLICAS:
            cluster.start(replica)
        async with gateway_to(cluster) as gateway:
            definition = {"fields": {"title": "text"}, "language": "none"}
            uid = (await gateway.collections.put(COLLECTION, definition)).uid
            story = Story(cluster, gateway, uid)
            await story.until_both_serve()
            loop = asyncio.get_running_loop()

            failures: list[BaseException] = []

            # Shrinking would go on from a cluster that has failed, and take its time.
            @settings(
                max_examples=NUM_EXAMPLES,
                phases=[Phase.generate],
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(schedules)
            def check(steps: list[Step]) -> None:
                if failures:  # Hypothesis plays what has failed again, but the cluster has moved on
                    raise failures[0]
                try:
                    asyncio.run_coroutine_threadsafe(story.play(steps), loop).result()
                except BaseException as error:
                    failures.append(error)
                    raise

            await asyncio.to_thread(check)
            assert story.num_steps.keys() == {"Put", "Remove", "WriteIf", "Kill", "Restart"}
            await all_live(gateway)
            await until(story.is_settled)
            await until(partial(story.do_score_alike, (*WORDS, " ".join(WORDS))))
    finally:
        cluster.stop()
