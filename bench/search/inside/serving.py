"""An engine's end of the pipe to the driver: it reads words, and writes a JSON object a line.

    → run 32 10 1.0 962 http   in flight, hits, least seconds, number of queries from the first on,
                               way of asking
    ← {"seconds": 1.202, "latencies_us": [410, …], "num_failed": 0, "failure": ""}
    → find 10 http             the hits of every query
    ← {"found": [[12, [["id", 3.21], …]], …]}
    → grow 30000               add documents up to this number, if the engine can
    ← {"build_s": 1.5, "disk_bytes": 4096}

A load passes over its queries as often as it takes to fill its time, so that each engine answers
the same queries in the same order. The engine ends when the commands end. The first line that it
writes says how long the index took to build and how many bytes it has on disk, with versions and
settings. The Java class `Search` speaks the same protocol.
"""

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from bench.harness.load import Load
from bench.harness.pipe import Pipe, Setting
from bench.search.queries import Query, read_plainly

Hits = list[tuple[str, float]]  # id and score, best first
Find = Callable[[Query, int], tuple[int | None, Hits]]  # number of matches, if known, and the best


@dataclass(frozen=True, slots=True)
class Ready:
    """What an engine reports once it can answer.

    Attributes:
        build_s: how long its index took to build; 0 if it was already there.
        disk_bytes: its size on disk.
        versions: name → version.
    """

    build_s: float
    disk_bytes: int
    versions: dict[str, str]
    settings: Sequence[Setting]

    def to_json(self) -> dict[str, Any]:
        """As the driver reads it."""
        return {
            "build_s": self.build_s,
            "disk_bytes": self.disk_bytes,
            "versions": self.versions,
            "settings": [[one.name, one.value, one.reason] for one in self.settings],
        }


@dataclass(frozen=True, slots=True)
class Task:
    """What the driver has an engine build and ask.

    Attributes:
        folder: where the engine keeps what it builds.
        documents: file of NDJSON.
        limit: how many of its lines count.
        queries: in the order in which they are asked.
        number: 0 for the process that builds, 1, 2, … for others of the same engine.
        options: of the engine.
    """

    folder: Path
    documents: Path
    limit: int
    queries: list[Query]
    number: int
    options: list[str]

    @classmethod
    def from_arguments(cls) -> "Task":
        """Parse the command line: FOLDER DOCUMENTS LIMIT QUERIES NUMBER OPTION…."""
        folder, documents, limit, queries, number, *options = sys.argv[1:]
        found = read_plainly(Path(queries))
        return cls(Path(folder), Path(documents), int(limit), found, int(number), options)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[str, str]]:
        """Yield id and text of the documents from number `start` up to `stop`, or to the limit."""
        with self.documents.open("rb") as file:
            for line in islice(file, start, self.limit if stop is None else stop):
                one = json.loads(line)
                yield one["id"], one["text"]


def disk_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def serve(
    task: Task,
    ready: Ready,
    finders: Mapping[str, Sequence[Find]],
    grow: Callable[[int], tuple[float, Mapping[str, Sequence[Find]]]] | None = None,
) -> None:
    """Answer the driver, with a thread for each finder of a way.

    Args:
        task: has the queries.
        ready: the first message.
        finders: of each way.
        grow: adds documents up to a number; returns how long that took, in s, and new finders.
    """
    pipe = Pipe()
    for some in finders.values():
        some[0](task.queries[0], 10)
    pipe.say(ready.to_json())
    for line in pipe.lines():
        command, *words = line.split()
        if command == "grow" and grow is not None:
            build_s, finders = grow(int(words[0]))
            pipe.say({"build_s": build_s, "disk_bytes": disk_bytes(task.folder)})
            continue
        some = finders[words[-1]]
        if command == "run":
            in_flight, k, seconds = int(words[0]), int(words[1]), float(words[2])
            queries = task.queries[: int(words[3])]
            pipe.say(run(some, queries, in_flight, k, seconds).to_json())
        else:
            pipe.say({"found": [some[0](query, int(words[0])) for query in task.queries]})


def run(
    finders: Sequence[Find], queries: Sequence[Query], in_flight: int, k: int, seconds: float
) -> Load:
    """A closed loop of `in_flight` callers, served in the order in which they ask.

    Callers are not threads, of which there are as many as finders: a caller that is answered asks
    again at once, at the end of the queue. So only the engine's own work takes time, and a latency
    includes the wait for the caller's turn.
    """
    load = Load()
    started = time.perf_counter()
    waiting = deque([started] * in_flight)
    works = _passes(queries, started + seconds)
    lock = threading.Lock()

    def answer(find: Find) -> None:
        record, clock = load.latencies_s.append, time.perf_counter
        while True:
            with lock:  # threads must not run a generator concurrently
                query = next(works, None)
                if query is None:
                    return
                asked_at = waiting.popleft()
            try:
                find(query, k)
            except Exception as error:  # noqa: BLE001 - counted; the page shows them
                with lock:
                    load.num_failed += 1
                    load.failure = repr(error)
                now = clock()
            else:
                now = clock()
                record(now - asked_at)
            waiting.append(now)

    # The first stays in this thread, which made it: some finders are bound to their thread.
    first, *others = finders[: max(1, in_flight)]
    threads = [threading.Thread(target=answer, args=(find,)) for find in others]
    for thread in threads:
        thread.start()
    answer(first)
    for thread in threads:
        thread.join()
    load.seconds = time.perf_counter() - started
    return load


def _passes(queries: Sequence[Query], until: float) -> Iterator[Query]:
    while True:
        yield from queries
        if time.perf_counter() >= until:
            return
