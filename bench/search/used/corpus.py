"""Short real texts with a name each, from Debian's archive, and queries of words that they have.

A document has `id`, `name` and `summary`: a package and its synopsis, WordNet's words and what they
mean, an entry of a dictionary. They stand in the order of a hash of their ids, so that the first of
them are a sample of all, however many are taken.
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
    """The documents, made when they are not there yet (half a minute, and 30 MB from the archive).

    Raises:
        SourceError: a source cannot be had.
    """

    def document(entry: Entry) -> dict[str, str]:
        return {"id": entry.id, "name": entry.name, "summary": shortened(entry.text)}

    corpus = KeptCorpus(cache, "summaries", _FORMAT)
    return corpus.read() or corpus.make(cache, _DICTIONARIES, synopses, document)


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
