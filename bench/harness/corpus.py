"""Dictionary texts of two Debian packages, as documents: short glosses, and entries of any length.

wordnet-base has 117,000 glosses in /usr/share/wordnet/data.* (their form: wndb(5WN)); dict-gcide
has 126,000 entries (`bench.harness.dictd`).
"""

import json
from collections.abc import Iterator
from pathlib import Path

from bench.harness import dictd

_WORDNET = Path("/usr/share/wordnet")
_GCIDE = Path("/usr/share/dictd")
PARTS = ("noun", "verb", "adj", "adv")  # of speech; WordNet has a file for each


def missing_packages() -> list[str]:
    """Names of the Debian packages that provide the files that are missing."""
    files = {"wordnet-base": _WORDNET / "data.noun", "dict-gcide": _GCIDE / "gcide.dict.dz"}
    return [package for package, file in files.items() if not file.exists()]


def lines() -> Iterator[tuple[bytes, int]]:
    """Yield each document as a line of NDJSON, and the number of bytes of its texts in UTF-8."""
    for document in (*_glosses(), *_entries()):
        size = len(document["title"].encode()) + len(document["text"].encode())
        yield json.dumps(document, ensure_ascii=False).encode() + b"\n", size


def glosses(part: str, data: str) -> Iterator[dict[str, str]]:
    """The glosses of one of WordNet's files, `data.PART`: `id`, `title` (its words) and `text`."""
    for line in data.splitlines():
        if line.startswith("  "):
            continue  # the licence
        synset, _, gloss = line.partition(" | ")
        offset, _, _, count, *rest = synset.split(" ")
        words = [word.replace("_", " ") for word in rest[: 2 * int(count, 16) : 2]]
        yield {
            "id": f"wordnet-{part}-{offset}",
            "title": ", ".join(words),
            "text": gloss.strip(),
        }


def _glosses() -> Iterator[dict[str, str]]:
    for part in PARTS:
        yield from glosses(part, (_WORDNET / f"data.{part}").read_text(encoding="utf-8"))


def _entries() -> Iterator[dict[str, str]]:
    for start, word, entry in dictd.entries_of(_GCIDE, "gcide"):
        yield {"id": f"gcide-{start}", "title": word, "text": entry}
