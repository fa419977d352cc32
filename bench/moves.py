"""`python -m bench.moves`: what searches see while shards move, at half of the load that fits.

A cluster of workers that join, with two replicas of each shard, and a gateway, each a process of
its own. First it is found out how many searches a second it answers; half as many, at random
instants, then arrive throughout. Meanwhile programs that have nothing to do with the cluster take
what is left of the cores, a worker is added, one is drained, one is killed, whose disk is lost with
it, and the shards are split. Of each, it is measured how long it takes until the shards are
balanced again, and what the searches that arrived meanwhile got.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.harness.cluster import stop_workers
from bench.harness.http_load import HttpGateway, serve
from bench.harness.idle_programs import idle_programs
from bench.harness.load import arrivals, closed_loop, quantile
from bench.harness.processes import descendants, send, start_tied
from bench.harness.report import show
from bench.harness.server import run_server
from hedgerow.gateway.client import AsyncClient
from hedgerow.gateway.shapes.placement import PlacementAnswer

COLLECTION: Final = "texts"
REPLICAS: Final = 2
CALLERS: Final = 16  # in flight while the capacity is measured
VOCABULARY: Final = 20_000
_ROOT: Final = Path(__file__).parents[1]
_PATIENCE_S: Final = 240.0
_LOAD_TIMEOUT_S: Final = 900.0
_POLL_S: Final = 0.25  # each takes the gateway 3 ms of CPU time, which searches need, too
_COLUMNS: Final = (
    "meanwhile",
    "balanced after, s",
    "searches",
    "not whole",
    "lowest coverage",
    "refused",
    "p50, ms",
    "p99, ms",
    "p99.9, ms",
    "last, ms",
    "last refusal, ms",
)


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured.

    Attributes:
        before_s, after_s: for how long searches arrive before an event, and after the balance.
        share: of the capacity that arrives.
        replace_after_s: `placement.replace_after_s`; a killed worker is waited for that long.
    """

    documents: int = 100_000
    shards: int = 8
    workers: int = 4
    deadline_ms: float = 200.0
    share: float = 0.5
    capacity_s: float = 10.0
    before_s: float = 5.0
    after_s: float = 5.0
    replace_after_s: float = 5.0


class _Coverage(msgspec.Struct):
    fraction: float
    degraded: dict[str, int] = {}


class _Answer(msgspec.Struct):
    """A search's answer, or the problem in its place, which then has a status."""

    coverage: _Coverage | None = None
    status: int = 200


_decode = msgspec.json.Decoder(_Answer).decode


@dataclass(frozen=True, slots=True)
class Search:
    """One search.

    Attributes:
        at: when it was sent, on the clock `time.perf_counter`.
        took_ms: until its answer was there.
        coverage: of the answer; None if it was refused.
    """

    at: float
    took_ms: float
    coverage: float | None


@dataclass(slots=True)
class Phase:
    """What happened during one event.

    Attributes:
        name: the event.
        balanced_s: how long the shards took to be balanced again, in s.
        searches: those that arrived during the event, and shortly before and after it.
        problems: why shards are missing in answers, or why there was none, and how often.
        began_at: when the event began, on the clock `time.perf_counter`.
    """

    name: str
    balanced_s: float = 0.0
    searches: list[Search] = field(default_factory=list)
    problems: dict[str, int] = field(default_factory=dict)
    began_at: float = field(default_factory=time.perf_counter)

    def row(self) -> list[str]:
        """The row of the table.

        Its times are those of the answers. The next refusal to a connection that has just got one
        waits, by design, and these searches share their connections.
        """
        shares = [one.coverage for one in self.searches if one.coverage is not None]
        took = [one.took_ms for one in self.searches if one.coverage is not None]
        refused = [one.took_ms for one in self.searches if one.coverage is None]
        return [
            self.name,
            f"{self.balanced_s:.1f}" if self.balanced_s else "",
            str(len(self.searches)),
            str(sum(share < 1.0 for share in shares)),
            f"{min(shares, default=0.0):.3f}",
            str(len(refused)),
            *(f"{quantile(took, share):.1f}" for share in (0.5, 0.99, 0.999)),
            f"{max(took, default=0.0):.1f}",
            f"{max(refused):.1f}" if refused else "",
        ]

    def to_json(self) -> dict[str, Any]:
        """Every figure."""
        return asdict(self)


class Words:
    """Draws words of a made-up language, common ones more often; the same for each seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def draw(self, number: int) -> str:
        """Some words."""
        # Half of the words are among the 140 most common ones: log-uniform, as by Zipf's law.
        ranks = (int(VOCABULARY ** self._random.random()) for _ in range(number))
        return " ".join(f"word{rank}" for rank in ranks)


def documents(number: int) -> Iterator[dict[str, str]]:
    """Texts of about 300 bytes."""
    words = Words(1)
    for one in range(number):
        yield {"id": f"d{one}", "title": words.draw(5), "text": words.draw(30)}


class Searcher:
    """Asks a gateway, with a new query each time."""

    def __init__(self, gateway: HttpGateway, deadline_ms: float) -> None:
        self._gateway = gateway
        self._deadline_ms = deadline_ms
        self._words = Words(2)

    async def ask(self) -> _Answer:
        """One search for the ten best documents with their fields."""
        query = {"query": self._words.draw(2), "deadline_ms": self._deadline_ms}
        body = json.dumps(query).encode()
        try:
            answer = await self._gateway.search(COLLECTION, body)
        except ConnectionError:  # the gateway has closed a connection that was idle for long
            answer = await self._gateway.search(COLLECTION, body)
        return _decode(answer)

    async def note(self, phase: Phase) -> None:
        """One search of a phase."""
        began_at = time.perf_counter()
        try:
            answer = await self.ask()
        except (OSError, msgspec.DecodeError) as error:
            answer, problem = _Answer(), type(error).__name__
        else:
            problem = str(answer.status)
        took_ms = (time.perf_counter() - began_at) * 1000
        lacks = {problem: 1} if answer.coverage is None else answer.coverage.degraded
        for problem, count in lacks.items():
            phase.problems[problem] = phase.problems.get(problem, 0) + count
        fraction = None if answer.coverage is None else answer.coverage.fraction
        phase.searches.append(Search(began_at, took_ms, fraction))


class Workers:
    """The worker processes, by name."""

    def __init__(self, folder: Path, redis_url: str, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._redis_url = redis_url
        self._environment = dict(environment)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, num_shards: int) -> None:
        """Start one more."""
        command = [
            *(sys.executable, "-m", "hedgerow.shard_worker.main", "--join", "--id", name),
            *("--num-shards", str(num_shards), "--data", str(self._folder / name)),
            *("--redis", self._redis_url),
        ]
        self._processes[name] = start_tied(command, cwd=_ROOT, env=self._environment)

    def stop(self, name: str) -> None:
        """End one in order."""
        stop_workers([self._processes.pop(name)])

    async def lose(self, name: str) -> None:
        """Kill one with all of its processes, and remove what it has stored."""
        # In a thread: searches that had to wait for this would then arrive all at once.
        await asyncio.to_thread(self._lose, self._processes.pop(name), name)

    def _lose(self, process: subprocess.Popen[bytes], name: str) -> None:
        send(signal.SIGKILL, [process.pid, *descendants(process.pid)])
        process.wait()
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def stop_all(self) -> None:
        """End all that are left."""
        stop_workers(list(self._processes.values()))


class Bench:
    """A running cluster, and what is done to it."""

    def __init__(
        self, options: Options, workers: Workers, client: AsyncClient, searcher: Searcher
    ) -> None:
        self._options = options
        self._workers = workers
        self._client = client
        self._searcher = searcher
        self._rate = 0.0

    async def run(self) -> list[Phase]:
        """Measure all events."""
        await self._prepare()
        self._rate = self._options.share * await self._capacity()
        last, extra = f"w{self._options.workers - 1}", f"w{self._options.workers}"
        num_shards = self._options.shards
        before_split = [
            await self._quiet("nothing happens"),
            await self._beside_idle_programs(),
            await self._phase(
                "a worker is added",
                lambda: self._workers.start(extra, num_shards),
                lambda found: extra in _owners(found) and _is_balanced(found),
            ),
            await self._phase(
                "a worker is drained",
                lambda: self._client.drain_worker(last),
                lambda found: last not in _owners(found) and _is_balanced(found),
            ),
            await self._phase(
                "a worker and its disk are lost",
                lambda: self._workers.lose("w0"),
                lambda found: "w0" not in _owners(found) and _is_balanced(found),
            ),
        ]
        # A split needs every worker. Those that have old shards by then clone the new ones.
        await self._client.cancel_drain(last)
        await self._until_placed(lambda found: last in _owners(found) and _is_balanced(found))
        # Last, since the moves of the new shards need snapshots of their own.
        split = await self._phase(
            "the shards are split",
            self._client.begin_split,
            lambda found: len(found.shards) == 2 * num_shards and _is_balanced(found),
        )
        return [*before_split, split]

    @property
    def rate(self) -> float:
        """Searches that arrive in a second."""
        return self._rate

    async def _prepare(self) -> None:
        """Load the documents, and make a snapshot of each shard."""
        await self._until_placed(_is_balanced)
        await self._client.put_collection(COLLECTION, fields={"title": "text", "text": "text"})
        await self._client.index(
            COLLECTION, documents(self._options.documents), timeout_s=_LOAD_TIMEOUT_S
        )
        await self._client.create_snapshots()
        give_up_at = time.monotonic() + _PATIENCE_S
        while not all(one.id for one in (await self._client.status()).snapshots):
            if time.monotonic() > give_up_at:
                raise TimeoutError("no snapshots are made")
            await asyncio.sleep(_POLL_S)

    async def _capacity(self) -> float:
        await closed_loop(self._searcher.ask, CALLERS, self._options.capacity_s / 2)  # warms up
        load = await closed_loop(self._searcher.ask, CALLERS, self._options.capacity_s)
        return load.throughput

    async def _beside_idle_programs(self) -> Phase:
        """What searches lose to any work that takes only what they leave of the cores.

        A split does much of such work. The programs have nothing to do with the cluster.
        """
        with idle_programs():
            return await self._quiet("idle programs compute")

    async def _quiet(self, name: str) -> Phase:
        """Let searches arrive while nothing happens to the shards, for comparison."""
        phase = Phase(name)
        async with self._arriving(phase):
            await asyncio.sleep(2 * (self._options.before_s + self._options.after_s))
        return phase

    async def _phase(
        self,
        name: str,
        act: Callable[[], Any],
        is_over: Callable[[PlacementAnswer], bool],
    ) -> Phase:
        """Let searches arrive, do something, and wait until the shards are balanced again."""
        phase = Phase(name)
        async with self._arriving(phase):
            await asyncio.sleep(self._options.before_s)
            phase.began_at = time.perf_counter()
            done = act()
            if done is not None:
                await done
            await self._until_placed(is_over)
            phase.balanced_s = time.perf_counter() - phase.began_at
            await asyncio.sleep(self._options.after_s)
        return phase

    @asynccontextmanager
    async def _arriving(self, phase: Phase) -> AsyncIterator[None]:
        """Let searches arrive for the block; they are all answered at its end."""
        asked: set[asyncio.Task[None]] = set()

        async def arrive() -> None:
            async for _ in arrivals(self._rate, 3600.0, phase.name):
                task = asyncio.create_task(self._searcher.note(phase))
                asked.add(task)
                task.add_done_callback(asked.discard)

        arriving = asyncio.create_task(arrive(), name="arrivals")
        try:
            yield
        finally:
            arriving.cancel()
            await asyncio.gather(arriving, return_exceptions=True)
            await asyncio.gather(*asked)

    async def _until_placed(self, is_over: Callable[[PlacementAnswer], bool]) -> None:
        give_up_at = time.monotonic() + _PATIENCE_S
        while True:
            found = await self._client.get_placement()
            if is_over(found):
                return
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"the shards do not get balanced: {found}")
            await asyncio.sleep(_POLL_S)


def _owners(found: PlacementAnswer) -> set[str]:
    return {owner for shard in found.shards for owner in shard.owners}


def _is_balanced(found: PlacementAnswer) -> bool:
    """Whether nothing moves, all replicas are served, and loads differ by at most 1."""
    loads = [worker.owns for worker in found.workers if worker.live and not worker.draining]
    return (
        found.is_settled
        and bool(loads)
        and max(loads) - min(loads) <= 1
        and all(
            len(shard.owners) == REPLICAS and set(shard.owners) <= set(shard.serving)
            for shard in found.shards
        )
    )


async def measure(options: Options) -> tuple[float, list[Phase]]:
    """Searches that arrived in a second, and what happened."""
    with (
        tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as name,
        run_server(is_durable=True) as server,
        contextlib.ExitStack() as started,
    ):
        folder = Path(name)
        environment = {
            **os.environ,
            "HEDGEROW_LOG_LEVEL": "error",
            "HEDGEROW_WORKER__SCORERS": "1",
            "HEDGEROW_WORKER__WORKERS_ON_HOST": str(options.workers),
            "HEDGEROW_PLACEMENT__REPLICAS": str(REPLICAS),
            "HEDGEROW_PLACEMENT__REPLACE_AFTER_S": str(options.replace_after_s),
            "HEDGEROW_SNAPSHOTS__URL": str(folder / "snapshots"),
            "HEDGEROW_GATEWAY__WRITE_TIMEOUT_S": str(_LOAD_TIMEOUT_S),
        }
        workers = Workers(folder, server.url, environment)
        started.callback(workers.stop_all)
        for number in range(options.workers):
            workers.start(f"w{number}", options.shards)
        command = ("hedgerow.gateway.cli.main", "serve", "--num-shards", str(options.shards))
        async with (
            serve(*command, redis_url=server.url, environment=environment) as gateway,
            AsyncClient(gateway.url) as client,
        ):
            bench = Bench(options, workers, client, Searcher(gateway, options.deadline_ms))
            phases = await bench.run()
            return bench.rate, phases


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    defaults = Options()
    for option in ("documents", "shards", "workers"):
        parser.add_argument(f"--{option}", type=int, default=getattr(defaults, option))
    for option in ("deadline_ms", "share", "replace_after_s"):
        name = f"--{option.replace('_', '-')}"
        parser.add_argument(name, type=float, default=getattr(defaults, option))
    parser.add_argument("--json", type=Path, help="file for every search")
    given = vars(parser.parse_args())
    file = given.pop("json")
    options = Options(**given)
    rate, phases = asyncio.run(measure(options))
    about = (
        f"{options.documents} documents, {options.shards} shards with {REPLICAS} replicas, "
        f"{options.workers} workers; {rate:.0f} searches/s, {options.share:.0%} of what "
        f"{CALLERS} callers get; deadline {options.deadline_ms:g} ms, "
        f"placement.replace_after_s {options.replace_after_s:g}"
    )
    show(about, _COLUMNS, [phase.row() for phase in phases])
    for phase in phases:
        if phase.problems:
            sys.stdout.write(f"\n{phase.name}: {phase.problems}\n")
    if file:
        everything = {"rate": rate, "phases": [phase.to_json() for phase in phases]}
        file.write_text(json.dumps(everything, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
