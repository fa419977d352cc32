"""Indexing: documents a second, and bytes on disk per byte of text."""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.harness import corpus
from bench.harness.cluster import Cluster, connect, run_cluster
from bench.harness.options import Options
from bench.harness.processes import CpuMeter
from bench.harness.report import Section
from hedgerow.common.lifecycle import calm_collector

_COLLECTION = "dictionary"
_PIECE_BYTES = 65_536


async def measure(options: Options) -> Section:
    """Load dictionary texts into an empty cluster until all can be found.

    Raises:
        FileNotFoundError: the texts are missing; names the Debian packages that provide them.
    """
    if missing := corpus.missing_packages():
        raise FileNotFoundError(f"apt-get install {' '.join(missing)}")
    documents = list(itertools.islice(corpus.lines(), options.num_documents))
    text_bytes = sum(size for _, size in documents)
    json_bytes = sum(len(line) for line, _ in documents)
    with run_cluster() as cluster:
        async with connect(cluster) as gateway:
            await gateway.collections.put(
                _COLLECTION, {"fields": {"title": "text", "text": "text"}}
            )
            calm_collector()
            meter = CpuMeter({"gateway": [os.getpid()], **cluster.parts()})
            empty_bytes = _disk_bytes(cluster)
            started = time.perf_counter()
            report = await gateway.documents.load(
                _COLLECTION, _pieces([line for line, _ in documents]), wait="applied"
            )
            took_s = time.perf_counter() - started
            cpu_s = meter.used_s()
            if report.accepted != len(documents):
                raise RuntimeError(f"{report.accepted} of {len(documents)} were accepted")
            await asyncio.sleep(2.0)  # merges of segments that are under way
            disk_bytes = _disk_bytes(cluster) - empty_bytes
    cpu_s["all"] = cpu_s.pop("workers") + cpu_s.pop("scorers")
    figures = {
        "documents": len(documents),
        "seconds": took_s,
        "documents_per_s": len(documents) / took_s,
        "text_mb": text_bytes / 1e6,
        "json_mb": json_bytes / 1e6,
        "disk_mb": disk_bytes / 1e6,
        "disk_bytes_per_text_byte": disk_bytes / text_bytes,
        **{f"{part}_us": used_s / len(documents) * 1e6 for part, used_s in cpu_s.items()},
    }
    return _section(figures)


def _section(figures: dict[str, float]) -> Section:
    return Section(
        title="Indexing",
        load=(
            "WordNet's glosses and the entries of the GNU Collaborative International Dictionary "
            "of English (Debian's wordnet-base and dict-gcide), two text fields, loaded once into "
            "an empty cluster through `Gateway.documents.load` until all can be found; what is on "
            "disk (text indexes and stored documents) is counted 2 s later."
        ),
        columns=(
            "documents",
            "documents/s",
            "text, MB",
            "on disk, MB",
            "bytes on disk per byte of text",
            "CPU µs per document: gateway, Redis, workers with their processes",
        ),
        rows=[
            [
                f"{figures['documents']:,.0f}",
                f"{figures['documents_per_s']:,.0f}",
                f"{figures['text_mb']:.1f}",
                f"{figures['disk_mb']:.1f}",
                f"{figures['disk_bytes_per_text_byte']:.2f}",
                ", ".join(f"{figures[part]:.0f}" for part in ("gateway_us", "Redis_us", "all_us")),
            ]
        ],
        reading=(
            f"{figures['documents']:,.0f} documents could be found "
            f"{figures['seconds']:.1f} s after the load began; a byte of text takes "
            f"{figures['disk_bytes_per_text_byte']:.2f} bytes on disk."
        ),
        figures=figures,
    )


async def _pieces(lines: list[bytes]) -> AsyncIterator[bytes]:
    piece = bytearray()
    for line in lines:
        piece += line
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _disk_bytes(cluster: Cluster) -> int:
    total = 0
    for folder, _, names in os.walk(cluster.folder):
        if "worker-" not in folder:
            continue
        for name in names:
            try:
                total += Path(folder, name).stat().st_size
            except FileNotFoundError:
                continue  # merged meanwhile
    return total
