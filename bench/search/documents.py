"""The documents: texts of Debian packages, the same in the same order on every machine.

They are in one file with a JSON object a line, of `id` and `text`, in the order of a hash of their
ids, so that the first of them, however many, are a fair sample of all.
"""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.harness import dictd
from bench.harness.corpus import PARTS, glosses
from bench.search.debian import SourceError, descriptions, fetch, stanzas

_WORDNET = "wordnet-base"
_PACKAGES = "package descriptions"
# Package → its dictionary. The last two are needed to reach a million documents.
_DICTIONARIES = {
    "dict-gcide": "gcide",
    "dict-foldoc": "foldoc",
    "dict-jargon": "jargon",
    "dict-freedict-deu-eng": "freedict-deu-eng",
    "dict-freedict-eng-deu": "freedict-eng-deu",
}
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Documents:
    """A corpus.

    Attributes:
        path: the file.
        versions: source → version of the package, or date of the list.
        counts: source → number of documents from it.
    """

    path: Path
    versions: dict[str, str]
    counts: dict[str, int]

    @property
    def total(self) -> int:
        """How many documents there are."""
        return sum(self.counts.values())

    def lines(self, limit: int | None = None) -> Iterator[bytes]:
        """Yield the first documents, as lines of NDJSON."""
        with self.path.open("rb") as file:
            yield from itertools.islice(file, limit)


class Entry(NamedTuple):
    """A text of a source: a package description, a gloss or a dictionary entry."""

    source: str
    id: str
    name: str
    text: str


class KeptCorpus:
    """Documents that were made before, in a file, with a second file that describes them."""

    def __init__(self, cache: Path, name: str, form: int) -> None:
        """Keep them in `cache` under a name; those of another format are made again."""
        self._path, self._about = cache / f"{name}.ndjson", cache / f"{name}.json"
        self._form = form

    def read(self) -> Documents | None:
        """The documents; None if they have not been made yet."""
        if not self._about.exists():
            return None
        told = json.loads(self._about.read_text(encoding="utf-8"))
        return Documents(self._path, **told) if told.pop("format", None) == self._form else None

    def make(
        self,
        cache: Path,
        dictionaries: Mapping[str, str],
        describe: Callable[[str], Iterator[tuple[str, str]]],
        document: Callable[[Entry], dict[str, str]],
    ) -> Documents:
        """Make them from Debian's texts, and keep them.

        Args:
            cache: for packages.
            dictionaries: package → its dictionary; WordNet is added to them.
            describe: yields package and text of each stanza of a list of descriptions.
            document: makes the document of a text.

        Raises:
            SourceError: a source is not available.
        """
        versions: dict[str, str] = {}
        found = sorted(_entries(cache, dictionaries, describe, versions), key=_key)
        counts = Counter(one.source for one in found)
        if len({one.id for one in found}) != len(found):
            raise SourceError("two documents have the same id")
        return self.write(map(document, found), versions, counts)

    def write(
        self,
        documents: Iterable[Mapping[str, str]],
        versions: Mapping[str, str],
        counts: Mapping[str, int],
    ) -> Documents:
        """Keep documents, with the version of each source and the number of documents from it."""
        with self._path.open("wb") as file:
            for document in documents:
                file.write(json.dumps(document, ensure_ascii=False).encode() + b"\n")
        made = Documents(self._path, dict(versions), {one: counts[one] for one in versions})
        told = {"format": self._form, "versions": made.versions, "counts": made.counts}
        self._about.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        return made


def read_documents(cache: Path) -> Documents:
    """The documents, made if they are missing (a minute, and 60 MB from the archive).

    Raises:
        SourceError: a source is not available.
    """

    def document(entry: Entry) -> dict[str, str]:
        is_whole = entry.source in _DICTIONARIES  # whose entries begin with their headword
        return {"id": entry.id, "text": entry.text if is_whole else f"{entry.name}: {entry.text}"}

    corpus = KeptCorpus(cache, "documents", _FORMAT)
    return corpus.read() or corpus.make(cache, _DICTIONARIES, stanzas, document)


def _entries(
    cache: Path,
    dictionaries: Mapping[str, str],
    describe: Callable[[str], Iterator[tuple[str, str]]],
    versions: dict[str, str],
) -> Iterator[Entry]:
    """Yield each text; fills in the versions of the sources."""
    files, versions[_WORDNET] = fetch(_WORDNET, cache)
    for part in PARTS:
        data = (files / "usr/share/wordnet" / f"data.{part}").read_text(encoding="utf-8")
        for gloss in glosses(part, data):
            yield Entry(_WORDNET, gloss["id"], gloss["title"], gloss["text"])
    for package, name in dictionaries.items():
        files, versions[package] = fetch(package, cache)
        for start, word, text in dictd.entries_of(files / "usr/share/dictd", name):
            yield Entry(package, f"{name}-{start}", word, text)
    listed, versions[_PACKAGES] = descriptions(cache)
    for package, text in describe(listed):
        yield Entry(_PACKAGES, f"package-{package}", package, text)


def _key(entry: Entry) -> bytes:
    return hashlib.blake2b(entry.id.encode(), digest_size=16).digest()
