"""A corpus of 100,000 short documents, where a great many tie, and queries over it.

It is WordNet's glosses where Debian's package wordnet-base is installed, and generated where it is
not.
"""

import random
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tests.support.judged import lines_of

WORDNET = Path("/usr/share/wordnet")
SIZE = 100_000  # WordNet has more

Document = dict[str, Any]


def large_corpus() -> list[Document]:
    """100,000 documents with id, title and text."""
    documents = list(islice(wordnet() if WORDNET.is_dir() else generated(SIZE), SIZE))
    assert len(documents) == SIZE
    return documents


def queries_over(documents: Sequence[Document], count: int) -> Iterator[str]:
    """Queries of one to six words of one document; for one of ten, also operators and phrases."""
    rng = random.Random(7)
    for number in range(count):
        words = re.findall(r"[a-z]{3,}", rng.choice(documents)["text"].lower())
        chosen = rng.sample(words, min(len(words), 1 + number % 6))
        yield " ".join(chosen)
        if number % 10 == 0:
            yield " ".join(f"+{word}" for word in chosen)
            yield f'"{" ".join(words[:2])}" {" ".join(chosen)}'
            yield f"title:({' '.join(chosen)}) -text:{words[-1] if words else 'x'}"


def wordnet() -> Iterator[Document]:
    """WordNet's synsets: words and gloss (the format is that of the man page wndb(5WN))."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in lines_of(WORDNET / f"data.{part}", "latin-1"):
            if not line.startswith("  "):
                head, _, gloss = line.partition(" | ")
                numbers = head.split()
                words = numbers[4 : 4 + 2 * int(numbers[3], 16) : 2]
                title = ", ".join(word.replace("_", " ") for word in words)
                yield {"id": f"{part}-{numbers[0]}", "title": title, "text": gloss.strip()}


def generated(count: int) -> Iterator[Document]:
    """Short texts of words that are as unevenly frequent as those of a language (Zipf's law)."""
    rng = random.Random(11)
    words = ["".join(rng.choices("bcdfgklmnprstvz", k=rng.randint(3, 7))) for _ in range(30_000)]
    weights = [1 / (rank + 2) for rank in range(len(words))]
    lengths = [rng.randint(4, 20) for _ in range(count)]
    drawn = iter(rng.choices(words, weights, k=sum(lengths) + 2 * count))
    for number, length in enumerate(lengths):
        title = " ".join(next(drawn) for _ in range(2))
        yield {
            "id": f"g{number}",
            "title": title,
            "text": " ".join(next(drawn) for _ in range(length)),
        }
