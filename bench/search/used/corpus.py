"""Short real texts with names, from Debian's archive, and queries of words from them.

A document has `id`, `name` and `summary`: a package and its synopsis, words and a gloss of WordNet,
or an entry of a dictionary. The documents are in the order of a hash of their ids, so that the
first of them, however many, are a sample of all.
"""

import itertools
import json
import random
from collections.abc import Iterable
from pathlib import Path

from bench.search.debian import synopses
from bench.search.documents import Documents, Entry, KeptCorpus
from bench.search.queries import Query, words_of

FIELDS = ("name", "summary")
_DICTIONARIES = {"dict-gcide": "gcide", "dict-foldoc": "foldoc", "dict-jargon": "jargon"}
_MOST_SUMMARY = 200  # characters: what a title or a summary has
_LEAST_WORD = 3
_FORMAT = 1


def read_summaries(cache: Path) -> Documents:
    """The documents, made if they are missing (half a minute, and 30 MB from the archive).

    Raises:
        SourceError: a source is not available.
    """

    def document(entry: Entry) -> dict[str, str]:
        return {"id": entry.id, "name": entry.name, "summary": shortened(entry.text)}

    corpus = KeptCorpus(cache, "summaries", _FORMAT)
    return corpus.read() or corpus.make(cache, _DICTIONARIES, synopses, document)


def two_words(lines: Iterable[bytes], number: int, seed: int = 1) -> list[Query]:
    """Queries of two different words that are adjacent in a document's summary.

    Args:
        lines: documents as NDJSON.
        number: how many different queries are wanted.
        seed: of the random choice.
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
    """A text cut to at most 200 characters, after a word."""
    if len(text) <= _MOST_SUMMARY:
        return text
    return text[: _MOST_SUMMARY + 1].rpartition(" ")[0] or text[:_MOST_SUMMARY]
