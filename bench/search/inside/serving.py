"""An engine's end of the pipe to the driver: words in, a JSON object a line out.

    → run 32 10 1.0 962 http   in flight, hits wanted, seconds at least, the first so many queries,
                               way of asking
    ← {"seconds": 1.202, "latencies_us": [410, …], "num_failed": 0, "failure": ""}
    → find 10 http             the hits of every query
    ← {"found": [[12, [["id", 3.21], …]], …]}
    → grow 30000               add documents until there are so many, where the engine can
    ← {"build_s": 1.5, "disk_bytes": 4096}

A load passes over its queries as often as it takes to fill its time, so that each engine answers
the same ones, in the same order. The end of the commands is that of the engine. The first line that
goes out says how long the index took to build, how many bytes it has on disk, versions and
settings. The Java class `Search` speaks the same.
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
Find = Callable[[Query, int], tuple[int | None, Hits]]  # how many match, if it tells; and the best


@dataclass(frozen=True, slots=True)
class Ready:
    """What an engine says once it can answer.

    Attributes:
        build_s: how long its index took to build; 0 when it was there.
        disk_bytes: what it has on disk.
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
    """What the driver wants built and asked.

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
        """What the command line says: FOLDER DOCUMENTS LIMIT QUERIES NUMBER OPTION…."""
        folder, documents, limit, queries, number, *options = sys.argv[1:]
        found = read_plainly(Path(queries))
        return cls(Path(folder), Path(documents), int(limit), found, int(number), options)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[str, str]]:
        """Id and text of the documents from number `start` up to `stop`, or up to the limit."""
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
        task: the queries are its.
        ready: said first.
        finders: of each way.
        grow: adds documents up to so many; returns how long that took, in s, and new finders.
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

    The callers are no threads, of which there are as many as finders: each that gets its answer
    asks again at once, at the end of the line. So nothing but the engine's own work costs time, and
    a latency has the wait for one's turn in it.
    """
    load = Load()
    started = time.perf_counter()
    waiting = deque([started] * in_flight)
    works = _passes(queries, started + seconds)
    lock = threading.Lock()

    def answer(find: Find) -> None:
        record, clock = load.latencies_s.append, time.perf_counter
        while True:
            with lock:  # of a generator, which threads may not share
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

    # The first stays in this thread, where it was made: some may not leave theirs.
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
