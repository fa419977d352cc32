"""Dictionaries of dictd: a text in a dictzip file, which gzip reads, and an index of its entries.

A line of the index has the headword, and where the entry starts in the text and how long it is,
both in bytes and in digits of base 64, tab between them (dictd(8), "DATABASE FORMAT").
"""

import gzip
from collections.abc import Iterator
from pathlib import Path

_DIGITS = {
    digit: value
    for value, digit in enumerate(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    )
}


def entries_of(folder: Path, name: str) -> Iterator[tuple[str, str, str]]:
    """The entries of `NAME.index` and `NAME.dict.dz` in a folder, as `entries`."""
    text = gzip.decompress((folder / f"{name}.dict.dz").read_bytes())
    return entries((folder / f"{name}.index").read_text(encoding="utf-8"), text)


def entries(index: str, text: bytes) -> Iterator[tuple[str, str, str]]:
    """Each entry once, in the order of the index.

    Args:
        index: the lines of the index.
        text: what it points into, in UTF-8.

    Yields:
        Where the entry starts, as the index writes it; the first headword that leads to it; and its
        text, white space made single.
    """
    seen: set[str] = set()
    for line in index.split("\n"):
        if not line:
            continue
        word, start, size, *_ = line.split("\t")
        # Another spelling of an entry that was there; or what is said of the file.
        if start in seen or word.startswith(("00-database", "00database")):
            continue
        seen.add(start)
        first = _number(start)
        entry = text[first : first + _number(size)].decode(errors="replace")
        yield start, word, " ".join(entry.split())


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + _DIGITS[digit]
    return value
