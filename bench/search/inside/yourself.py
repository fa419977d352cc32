"""What you would write yourself: FastAPI over tantivy in one process, with stored documents.

`python -m bench.search.inside.yourself` is the client and answers the driver; with `--serve FOLDER`
it is the server. Ways: `http` gives the documents' fields, `http-ids` gives ids and scores alone.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import tantivy
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from bench.harness.http_load import HttpGateway
from bench.harness.pipe import Pipe, Setting
from bench.search.inside.callers import Ask, Verdict, body_of, serve_callers
from bench.search.inside.serving import Ready, Task, disk_bytes
from bench.search.queries import Query

_SERVE = "--serve"
_FIELDS = ["name", "summary"]
_MEMORY_BYTES = 512_000_000
_START_TIMEOUT_S = 60.0


class Asked(BaseModel):
    """A search."""

    query: str
    k: int = 10
    fields: bool = True


def build(task: Task) -> float:
    """Build the index; returns how long it took, in s."""
    started = time.perf_counter()
    task.folder.mkdir(parents=True)
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw")
    for name in _FIELDS:
        # Hedgerow's default language is English too.
        builder.add_text_field(name, stored=True, tokenizer_name="en_stem")
    index = tantivy.Index(builder.build(), str(task.folder))
    writer = index.writer(_MEMORY_BYTES, num_threads=1)  # one thread makes one segment at a time
    with task.documents.open("rb") as file:
        for line in islice(file, task.limit):
            writer.add_document(tantivy.Document(**json.loads(line)))
    writer.commit()
    writer.wait_merging_threads()
    return time.perf_counter() - started


def make_app(folder: Path) -> FastAPI:
    """The whole program."""
    index = tantivy.Index.open(str(folder))
    searcher = index.searcher()
    app = FastAPI()

    # On the loop: a search takes less than the way to a thread and back.
    @app.post("/search")
    async def search(asked: Asked) -> dict[str, Any]:
        found = searcher.search(index.parse_query(asked.query, _FIELDS), asked.k)
        hits = []
        for score, address in found.hits:
            document = searcher.doc(address).to_dict()
            hit = {"id": document["id"][0], "score": score}
            if asked.fields:
                hit["fields"] = {name: document[name][0] for name in _FIELDS}
            hits.append(hit)
        total = found.count  # type: ignore[attr-defined]  # absent from tantivy's stub
        return {"total": total, "hits": hits}

    return app


def run_server(folder: Path) -> None:
    """Serve on any free port, which is printed first."""
    # With the protocol named, as by uvicorn itself: asyncio sets TCP_NODELAY on no others, and an
    # answer would wait for an acknowledgement of its head, which takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    # No line for each request: Hedgerow writes none either.
    config = uvicorn.Config(make_app(folder), access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


@contextlib.asynccontextmanager
async def run_apart(folder: Path) -> AsyncIterator[HttpGateway]:
    """The server as a process of its own, which is ended at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.search.inside.yourself",
        _SERVE,
        str(folder),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            port = await process.stdout.readline()
        if not port:
            raise RuntimeError("the server has ended at its start")
        http = HttpGateway("127.0.0.1", int(port), process.pid)
        yield http
        http.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def ways_of(http: HttpGateway) -> dict[str, Ask]:
    """How it is asked."""

    async def ask(query: Query, k: int, *, has_fields: bool) -> Verdict:
        answer = await http.post("/search", body_of(query.text, k, has_fields))
        if not answer.startswith(b'{"total":'):
            raise RuntimeError(answer[:400].decode(errors="replace"))
        return Verdict.WHOLE

    return {"http": partial(ask, has_fields=True), "http-ids": partial(ask, has_fields=False)}


async def serve(task: Task, build_s: float) -> None:
    """Start the server, and answer the driver."""
    settings = (
        Setting("server", f"uvicorn {metadata.version('uvicorn')}", "one process, as it comes"),
        Setting("fields", "stored in the index", "a hit's document is read where it was found"),
        Setting("tokenizer", "en_stem", "stems of English, as Hedgerow's default language"),
        Setting("segments", "1", "as one writer thread makes them"),
    )
    versions = {name: metadata.version(name) for name in ("fastapi", "tantivy")}
    ready = Ready(build_s, disk_bytes(task.folder), versions, settings)
    pipe = Pipe()
    async with run_apart(task.folder) as http:
        parts = {"client": [os.getpid()], "gateway": [http.pid]}
        await serve_callers(pipe, task, lambda: ready, ways_of(http), lambda: parts)


def main() -> None:
    """Serve searches, or the driver."""
    if sys.argv[1:2] == [_SERVE]:
        run_server(Path(sys.argv[2]))
        return
    task = Task.from_arguments()
    asyncio.run(serve(task, build(task)))


if __name__ == "__main__":
    main()
