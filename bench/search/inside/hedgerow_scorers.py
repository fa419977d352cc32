"""Hedgerow's scorers alone: what a scorer process runs for a search, with nothing around it.

A process a core calls `shard_worker.scoring.scorer` as the cluster's scorers do: the query is read
and weighted by the collection's statistics, and the answer packed for the wire. No gateway, no
Redis, no worker, no lane. No option. Way: `score`.
"""

import json
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from bench.harness.pipe import Setting
from bench.search.inside.serving import Find, Hits, Ready, Task, disk_bytes, serve
from bench.search.queries import Query
from hedgerow.common.collection import define
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES
from hedgerow.common.wire.messages import SearchPayload, pack_body, unpack_search_body
from hedgerow.shard_worker.executors.process_pool.budget import Budget
from hedgerow.shard_worker.scoring.scorer import ScorerConfig, make_scorer
from hedgerow.shard_worker.storage.term_statistics import collect, write_table
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

_UID = "texts"
_SHARD = 0
_PROFILE = "bm25"
_MEMORY_BYTES = 512_000_000  # as `limits.optimise_memory_bytes`
_COLLECTION = define("texts", {"fields": {"text": "text"}, "language": "none"}, uid=_UID)


def build(task: Task) -> float:
    """Build the index and the term statistics; returns how long it took, in s."""
    started = time.perf_counter()
    writer = TextIndexWriter.open(_path(task), _COLLECTION, _MEMORY_BYTES)
    writer.add(_documents(task))
    writer.commit()
    writer.close()
    write_table(task.folder / "statistics" / f"{_UID}.sqlite", collect(_open(task)))
    return time.perf_counter() - started


def _path(task: Task) -> Path:
    return task.folder / "shards" / str(_SHARD) / _UID


def _open(task: Task) -> TextIndex:
    return TextIndex.open(_path(task))


def _documents(task: Task) -> Iterator[tuple[str, bytes]]:
    for one, text in task.read():
        yield one, json.dumps({"text": text}).encode()


def finder(task: Task) -> Find:
    """Searches by a scorer; the few µs that it takes to read its answer are in the time."""
    generation = _open(task).generation
    score = make_scorer(ScorerConfig(str(task.folder), BUILT_IN_PROFILES))
    budget = Budget.until(float("inf"))

    def find(query: Query, k: int) -> tuple[int | None, Hits]:
        payload = SearchPayload(_UID, query.text, k, _PROFILE, "", strict=False)
        body = unpack_search_body(score((_SHARD, generation, pack_body(payload)), budget))
        return body.total, list(zip(body.ids, body.scores, strict=True))

    return find


def main() -> None:
    """Build if need be, and serve."""
    task = Task.from_arguments()
    build_s = 0.0 if task.folder.exists() else build(task)
    settings = (
        Setting("processes", "one a core", "as many as the cluster has scorers"),
        Setting("segments", str(_open(task).num_segments), "one writer, and one commit of all"),
        Setting("language", "none", "lower case, no stop words, no stems"),
    )
    versions = {"hedgerow": metadata.version("hedgerow")}
    ready = Ready(build_s, disk_bytes(task.folder), versions, settings)
    serve(task, ready, {"score": [finder(task)]})


if __name__ == "__main__":
    main()
