"""The documents: Debian's texts if they are available, otherwise made-up ones of the same shape."""

import itertools
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.search.debian import SourceError
from bench.search.documents import Documents, KeptCorpus
from bench.search.used.corpus import read_summaries

_NUM_MADE_UP = 100_000
_NUM_WORDS = 60_000
_FORMAT = 1


def read_documents(cache: Path) -> Documents:
    """The summaries that `make bench-search` uses, or made-up ones."""
    try:
        return read_summaries(cache)
    except (SourceError, OSError) as error:
        sys.stderr.write(f"Debian's texts are not available, so texts are made up: {error}\n")
    corpus = KeptCorpus(cache, "made-up", _FORMAT)
    if (kept := corpus.read()) is not None:
        return kept
    documents = itertools.islice(_made_up(), _NUM_MADE_UP)
    return corpus.write(documents, {"made up": "1"}, {"made up": _NUM_MADE_UP})


def _made_up() -> Iterator[dict[str, str]]:
    """Yield documents with a name of one or two words and a summary of three to sixteen."""
    rng = random.Random(1)

    def word() -> str:
        rank = min(_NUM_WORDS, int(rng.paretovariate(0.6)))
        return f"word{rank}"

    for number in itertools.count():
        name = " ".join(word() for _ in range(rng.randint(1, 2)))
        summary = " ".join(word() for _ in range(rng.randint(3, 16)))
        yield {"id": str(number), "name": name, "summary": summary}
