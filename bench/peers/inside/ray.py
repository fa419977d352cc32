"""Ray on one host: `… -m bench.peers.inside.ray SOCKET actors|graphs`."""

import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import ray
from ray.dag import InputNode, MultiOutputNode

from bench.harness.load import Load, Run
from bench.harness.pipe import Setting
from bench.peers.inside import work
from bench.peers.inside.serving import serve

_IN_FLIGHT = 32
_STORE_MIB = 200
SETTINGS = (
    Setting(
        "num_cpus of an actor",
        "0",
        "a process a shard, which reserves no core; with 1, two cores admit two of the eight",
    ),
    Setting(
        "num_cpus of ray.init",
        str(work.NUM_SHARDS),
        "this many worker processes are started in advance (default: the cores)",
    ),
    Setting(
        "object_store_memory",
        f"{_STORE_MIB} MiB",
        "enough for all queries in flight (default: about 30 % of the memory)",
    ),
    Setting("include_dashboard, log_to_driver", "False", "nothing beside, and no output is sent"),
    Setting(
        "experimental_compile()",
        "for the compiled graphs",
        "one graph of InputNode, eight methods, MultiOutputNode; shared memory instead of RPC",
    ),
    Setting(
        "ray.get",
        "of the oldest query, 32 begun",
        "with enable_asyncio and futures, little more than half as many were answered in a trial",
    ),
    Setting(
        "_max_inflight_executions, _max_buffered_results",
        str(_IN_FLIGHT),
        "as many as are in flight (default 10, and 1,000)",
    ),
)


class Shard:
    """An actor that holds a shard."""

    def __init__(self, shard: int) -> None:
        """Hold `shard`."""
        self._shard = shard

    def answer(self, query: str) -> Any:
        """What the shard replies."""
        return work.answer(self._shard, query)


@asynccontextmanager
async def connect(_: str) -> AsyncIterator[Run]:
    """A client in this process and eight actors."""
    # Ray's folder holds sockets, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ray.init(
            num_cpus=work.NUM_SHARDS,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=_STORE_MIB * 2**20,
            _temp_dir=folder,
        )
        try:
            remote: Any = ray.remote(num_cpus=0)(Shard)
            actors = [remote.remote(shard) for shard in range(work.NUM_SHARDS)]
            begin = _compile(actors).execute if sys.argv[2] == "graphs" else _caller(actors)
            yield partial(_keep_asking, begin)
        finally:
            ray.shutdown()


def _caller(actors: list[Any]) -> Callable[[str], Any]:
    return lambda query: [actor.answer.remote(query) for actor in actors]


def _compile(actors: list[Any]) -> Any:
    with InputNode() as query:
        graph = MultiOutputNode([actor.answer.bind(query) for actor in actors])
    return graph.experimental_compile(
        _max_inflight_executions=_IN_FLIGHT, _max_buffered_results=_IN_FLIGHT
    )


async def _keep_asking(begin: Callable[[str], Any], in_flight: int, seconds: float) -> Load:
    """Keep `in_flight` queries in flight; answers are awaited in the order of the queries."""
    load = Load()
    asked: deque[tuple[float, Any]] = deque()
    started = now = time.perf_counter()
    until = started + seconds
    while now < until or asked:
        while now < until and len(asked) < in_flight:
            asked.append((time.perf_counter(), begin(work.next_query())))
        asked_at, references = asked.popleft()
        work.check(ray.get(references))
        now = time.perf_counter()
        load.latencies_s.append(now - asked_at)
    load.seconds = now - started
    return load


if __name__ == "__main__":
    serve(connect, ("ray",), SETTINGS)
