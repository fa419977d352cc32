"""tantivy in one process: the index that Hedgerow's shards are made of, as one, asked directly.

This is the limit: no scatter, no wire, no deadline. Schema, analysis and the index's settings are
Hedgerow's (`shard_worker.storage.schema`); queries are parsed by tantivy itself. Option: THREADS.
Ways: `best` finds the best and skips what cannot be among them, `count` counts the matches too, as
Hedgerow does.
"""

import shutil
import time
from importlib import metadata

import tantivy

from bench.harness.pipe import Setting
from bench.search.inside.serving import Find, Hits, Ready, Task, disk_bytes, serve
from bench.search.queries import Query
from hedgerow.common.collection import define
from hedgerow.shard_worker.storage.document_maker import DocumentPlan, make_document
from hedgerow.shard_worker.storage.schema import BLOCK_BYTES, make_index, register_analysers

_FIELD = "text"
_MEMORY_BYTES = 512_000_000
_COLLECTION = define("bench", {"fields": {_FIELD: "text"}, "language": "none"})


def build(task: Task, limit: int | None = None) -> float:
    """Build the index of the task's documents, or of `limit`; returns how long it took, in s."""
    started = time.perf_counter()
    task.folder.mkdir(parents=True)
    index = make_index(task.folder, _COLLECTION)
    writer = index.writer(_MEMORY_BYTES, num_threads=1)  # one thread makes one segment at a time
    plan = DocumentPlan.of(_COLLECTION)
    for one, text in task.read(0, limit):
        writer.add_document(make_document(plan, one, {_FIELD: text}))
    writer.commit()
    writer.wait_merging_threads()
    return time.perf_counter() - started


def open_index(task: Task) -> tantivy.Index:
    """The index that was built."""
    index = tantivy.Index.open(str(task.folder))
    register_analysers(index, _COLLECTION)
    return index


def finder(index: tantivy.Index, *, is_counted: bool) -> Find:
    """Searches the index."""
    searcher = index.searcher()
    parse, search, document = index.parse_query, searcher.search, searcher.doc

    def find(query: Query, k: int) -> tuple[int | None, Hits]:
        result = search(parse(query.text, [_FIELD]), k, count=is_counted)
        hits = [(str(document(at).get_first("id")), score) for score, at in result.hits]
        total = result.count if is_counted else None  # type: ignore[attr-defined] # as text_index
        return total, hits

    return find


def main() -> None:
    """Build if need be, and serve."""
    task = Task.from_arguments()
    num_threads = int(task.options[0])
    build_s = 0.0 if task.folder.exists() else build(task)

    def finders() -> dict[str, list[Find]]:
        index = open_index(task)
        return {
            way: [finder(index, is_counted=is_counted)] * num_threads
            for way, is_counted in (("best", False), ("count", True))
        }

    def grow(limit: int) -> tuple[float, dict[str, list[Find]]]:
        # From scratch, as one segment: each further segment makes a search more expensive.
        shutil.rmtree(task.folder)
        took_s = build(task, limit)
        return took_s, finders()

    settings = (
        Setting(
            "threads", str(num_threads), "a search releases Python's lock: one thread per core"
        ),
        Setting(
            "segments",
            str(open_index(task).searcher().num_segments),
            f"as one writer thread with {_MEMORY_BYTES // 10**6} MB makes them",
        ),
        Setting(
            "docstore_blocksize", str(BLOCK_BYTES), "Hedgerow's too: nothing but ids is stored"
        ),
        Setting("tokenizer", "Hedgerow's, language none", "lower case, no stop words, no stems"),
    )
    versions = {"tantivy": metadata.version("tantivy")}
    ready = Ready(build_s, disk_bytes(task.folder), versions, settings)
    serve(task, ready, finders(), grow)


if __name__ == "__main__":
    main()
