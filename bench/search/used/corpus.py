"""Short real texts with a name each, from Debian's archive, and queries of words that they have.

A document has `id`, `name` and `summary`: a package and its synopsis, WordNet's words and what they
mean, an entry of a dictionary. They stand in the order of a hash of their ids, so that the first of
them are a sample of all, however many are taken.
"""

import hashlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.harness import dictd
from bench.harness.corpus import PARTS, glosses
from bench.search.debian import descriptions, fetch, synopses
from bench.search.documents import Documents, KeptCorpus
from bench.search.queries import Query, words_of

FIELDS = ("name", "summary")
_WORDNET = "wordnet-base"
_DICTIONARIES = {"dict-gcide": "gcide", "dict-foldoc": "foldoc", "dict-jargon": "jargon"}
_PACKAGES = "package descriptions"
_MOST_SUMMARY = 200  # characters: what a title or a summary has
_LEAST_WORD = 3
_FORMAT = 1


def read_summaries(cache: Path) -> Documents:
    """The documents, made when they are not there yet (half a minute, and 30 MB from the archive).

    Raises:
        SourceError: a source cannot be had.
    """
    corpus = KeptCorpus(cache, "summaries", _FORMAT)
    if (kept := corpus.read()) is not None:
        return kept
    versions: dict[str, str] = {}
    found = sorted(_all(cache, versions), key=lambda one: _key(one[1]))
    counts = Counter(source for source, *_ in found)
    documents = (
        {"id": one, "name": name, "summary": shortened(text)} for _, one, name, text in found
    )
    return corpus.write(documents, versions, counts)


def two_words(lines: Iterable[bytes], number: int, seed: int = 1) -> list[Query]:
    """Queries of two different words that a document has beside each other, in its summary.

    Args:
        lines: documents as NDJSON.
        number: how many are wanted; each is another one.
        seed: of the choice.
    """
    rng = random.Random(seed)
    pairs: dict[str, None] = {}  # in order, each once
    for line in lines:
        words = words_of(json.loads(line)["summary"])
        fitting = [
            f"{first} {second}"
            for first, second in itertools.pairwise(words)
            if first != second and min(len(first), len(second)) >= _LEAST_WORD
        ]
        if fitting:
            pairs[rng.choice(fitting)] = None
    return [Query(text, "two words") for text in rng.sample(list(pairs), min(number, len(pairs)))]


def shortened(text: str) -> str:
    """A text of at most 200 characters, cut after a word where it is longer."""
    if len(text) <= _MOST_SUMMARY:
        return text
    return text[: _MOST_SUMMARY + 1].rpartition(" ")[0] or text[:_MOST_SUMMARY]


def _key(document_id: str) -> bytes:
    return hashlib.blake2b(document_id.encode(), digest_size=16).digest()


def _all(cache: Path, versions: dict[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Source, id, name and text of each document; tells the sources' versions too."""
    text, versions[_PACKAGES] = descriptions(cache)
    for package, synopsis in synopses(text):
        yield _PACKAGES, f"package-{package}", package, synopsis
    files, versions[_WORDNET] = fetch(_WORDNET, cache)
    for part in PARTS:
        data = (files / "usr/share/wordnet" / f"data.{part}").read_text(encoding="utf-8")
        for gloss in glosses(part, data):
            yield _WORDNET, gloss["id"], gloss["title"], gloss["text"]
    for package, name in _DICTIONARIES.items():
        files, versions[package] = fetch(package, cache)
        for start, word, entry in dictd.entries_of(files / "usr/share/dictd", name):
            yield package, f"{name}-{start}", word, entry
