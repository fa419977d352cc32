"""Dictionary texts of two Debian packages, as documents: short glosses, and entries of any length.

wordnet-base has 117,000 glosses in /usr/share/wordnet/data.* (their form: wndb(5WN)); dict-gcide
has 126,000 entries in a dictzip file, which gzip reads, and an index with offsets in base 64
(RFC 2229's reference implementation, dictd(8), names both).
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

_WORDNET = Path("/usr/share/wordnet")
_GCIDE = Path("/usr/share/dictd")
_DIGITS = {
    digit: value
    for value, digit in enumerate(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    )
}


def missing_packages() -> list[str]:
    """Names of the Debian packages that would bring what is not there."""
    files = {"wordnet-base": _WORDNET / "data.noun", "dict-gcide": _GCIDE / "gcide.dict.dz"}
    return [package for package, file in files.items() if not file.exists()]


def lines() -> Iterator[tuple[bytes, int]]:
    """Each document as a line of NDJSON, and the bytes of its texts in UTF-8."""
    for document in (*_glosses(), *_entries()):
        size = len(document["title"].encode()) + len(document["text"].encode())
        yield json.dumps(document, ensure_ascii=False).encode() + b"\n", size


def _glosses() -> Iterator[dict[str, str]]:
    for part in ("noun", "verb", "adj", "adv"):
        for line in (_WORDNET / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):
                continue  # the licence
            data, _, gloss = line.partition(" | ")
            offset, _, _, count, *rest = data.split(" ")
            words = [word.replace("_", " ") for word in rest[: 2 * int(count, 16) : 2]]
            yield {
                "id": f"wordnet-{part}-{offset}",
                "title": ", ".join(words),
                "text": gloss.strip(),
            }


def _entries() -> Iterator[dict[str, str]]:
    text = gzip.decompress((_GCIDE / "gcide.dict.dz").read_bytes())
    seen: set[str] = set()
    for line in (_GCIDE / "gcide.index").read_text(encoding="utf-8").splitlines():
        word, start, size = line.split("\t")
        if start in seen or word.startswith("00-database"):
            continue  # another spelling of an entry that was there; what is said of the file
        seen.add(start)
        first = _number(start)
        entry = text[first : first + _number(size)].decode(errors="replace")
        yield {"id": f"gcide-{start}", "title": word, "text": " ".join(entry.split())}


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + _DIGITS[digit]
    return value
