"""`python -m bench.decisions.document_stores`: documents in SQLite beside tantivy's own store.

Ten documents of 300 bytes of JSON are read at a time, at random from 100,000: from SQLite, as a
scorer reads those of its best hits (`read_leading`), and from stored fields of a text index.
tantivy compresses its store in blocks of 16 KB, of which it caches a hundred. The last column is
the cost of replacing one document: one transaction in SQLite, and one commit of an index.
"""

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tantivy

from bench.harness.options import make_parser
from bench.harness.report import median, show
from bench.search.inside.serving import disk_bytes
from hedgerow.shard_worker.storage.leading_documents import read_leading
from hedgerow.shard_worker.storage.store import Store

_UID = "c"
_NUM_READS = 300
_NUM_WRITES = 10
_Read = Callable[[list[str]], object]
_Write = Callable[[str], None]


def _documents(number: int) -> dict[str, bytes]:
    rng = random.Random(1)
    words = [f"word{rank}" for rank in range(5_000)]
    return {
        f"id-{one:06}": json.dumps({"text": " ".join(rng.choices(words, k=32))}).encode()
        for one in range(number)
    }


def _sqlite(folder: Path, documents: dict[str, bytes]) -> tuple[_Read, _Write]:
    store = Store.open(folder / "documents.sqlite")
    store.apply("1-0", definitions={_UID: "{}"}, documents={_UID: dict(documents)})
    connection = store._connection()

    def read(ids: list[str]) -> object:
        return read_leading(connection, _UID, ids, 1_000_000, lambda: False)

    def write(one: str) -> None:
        store.apply("1-1", documents={_UID: {one: documents[one]}})

    return read, write


def _tantivy(folder: Path, documents: dict[str, bytes]) -> tuple[_Read, _Write]:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw")
    builder.add_bytes_field("body", stored=True)
    index = tantivy.Index(builder.build(), str(folder))
    writer = index.writer(128_000_000, num_threads=1)
    for one, body in documents.items():
        writer.add_document(tantivy.Document(id=one, body=body))
    writer.commit()
    index.reload()
    searcher = index.searcher()
    addresses = {
        one: searcher.search(tantivy.Query.term_query(index.schema, "id", one), 1).hits[0][1]
        for one in random.Random(2).sample(sorted(documents), 3_000)
    }
    known = list(addresses)

    def read(ids: list[str]) -> object:
        # As many documents as requested, from those with known addresses, which a search returns.
        chosen = [addresses[known[hash(one) % len(known)]] for one in ids]
        return [bytes(searcher.doc(address)["body"][0]) for address in chosen]

    def write(one: str) -> None:
        writer.delete_documents_by_term("id", one)
        writer.add_document(tantivy.Document(id=one, body=documents[one]))
        writer.commit()

    return read, write


def main() -> int:
    """Measure; returns the exit status."""
    parser = make_parser("bench.decisions.document_stores", __doc__, 9)
    parser.add_argument("--documents", type=int, default=100_000, metavar="N", help="(100000)")
    arguments = parser.parse_args()
    documents = _documents(arguments.documents)
    ids = sorted(documents)
    rng = random.Random(3)
    with tempfile.TemporaryDirectory(prefix="hedgerow-stores-") as name:
        stores: dict[str, tuple[_Read, _Write, Path]] = {}
        for title, make in (("SQLite", _sqlite), ("tantivy, stored field", _tantivy)):
            folder = Path(name, title.partition(",")[0])
            folder.mkdir()
            stores[title] = (*make(folder, documents), folder)
        read_us: dict[str, list[float]] = {title: [] for title in stores}
        write_ms: dict[str, list[float]] = {title: [] for title in stores}
        for _ in range(arguments.rounds):
            lots = [rng.sample(ids, 10) for _ in range(_NUM_READS)]
            for title, (read, write, _) in stores.items():
                began_s = time.process_time()
                for lot in lots:
                    read(lot)
                read_us[title].append((time.process_time() - began_s) / _NUM_READS * 1e6)
                began_at = time.perf_counter()
                for lot in lots[:_NUM_WRITES]:
                    write(lot[0])
                write_ms[title].append((time.perf_counter() - began_at) / _NUM_WRITES * 1e3)
        rows = [
            (
                title,
                f"{median(read_us[title]):,.0f}",
                f"{disk_bytes(folder) / 1e6:,.0f}",
                f"{median(write_ms[title]):.1f}",
            )
            for title, (_, _, folder) in stores.items()
        ]
    show(
        f"{len(ids):,} documents; medians of {arguments.rounds} rounds in turns",
        ("", "CPU µs, ten documents", "on disk, MB", "ms, one write"),
        rows,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
