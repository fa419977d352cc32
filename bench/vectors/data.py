"""The vectors that are measured, and which of them are nearest: drawn, or made of texts.

They are written to a file in parts and mapped into memory, so that a million take no more of it
than some blocks.
"""

import json
import lzma
import re
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeAlias

from hedgerow.shard_worker.vectors.numbers import np  # with one thread, as scorers import it

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

K = 10
_LATENT: Final = 40
_PART: Final = 50_000  # vectors in memory at once
_SCIFACT = Path(__file__).parents[2] / "tests" / "data" / "scifact"
_EXAMPLES = Path(__file__).parents[2] / "examples"
_SENTENCES: Final = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


class Data(NamedTuple):
    """Vectors and queries.

    Attributes:
        name: what they are.
        vectors: of length 1.
        queries: the same.
        ranks: a number from 0 to 999 for each vector, by which filters let vectors pass.
    """

    name: str
    vectors: Numbers
    queries: Numbers
    ranks: Numbers

    @classmethod
    def draw(cls, folder: Path, num: int, num_queries: int, dimensions: int) -> Self:
        """Draw vectors and queries from clusters in 40 dimensions, turned into more, with noise.

        They are about as hard as embeddings of texts; uniform ones would be harder, and unlike any
        in use.
        """
        rng = np.random.default_rng(1)
        turn = rng.normal(size=(_LATENT, dimensions)) / np.sqrt(_LATENT)
        centres = rng.normal(size=(max(20, num // 200), _LATENT))

        def drawn(count: int) -> Numbers:
            latent = centres[rng.integers(len(centres), size=count)]
            latent = latent + 0.7 * rng.normal(size=(count, _LATENT))
            return _unit(latent @ turn + 0.15 * rng.normal(size=(count, dimensions)))

        parts = (drawn(min(_PART, num - at)) for at in range(0, num, _PART))
        vectors = _mapped(folder / "drawn.f4", dimensions, parts)
        name = f"{num:,} drawn vectors of {dimensions} dimensions"
        return cls(name, vectors, drawn(num_queries), rng.integers(1000, size=num))

    @classmethod
    def of_texts(cls, folder: Path, num_queries: int) -> Self:
        """Embed SciFact's sentences, alone and with the next, and its claims, by wordllama."""
        sys.path.insert(0, str(_EXAMPLES))
        from wordllama_embedding import (  # type: ignore[import-not-found]  # noqa: PLC0415 - an example
            embed,
        )

        with lzma.open(_SCIFACT / "corpus.jsonl.xz", "rt") as lines:
            bodies = [json.loads(line)["text"] for line in lines]
        texts = []
        for body in bodies:
            sentences = _SENTENCES.split(body)
            texts += sentences
            texts += [" ".join(pair) for pair in pairwise(sentences)]
        texts = list(dict.fromkeys(texts))
        asked = (_SCIFACT / "queries.jsonl").read_text().splitlines()
        claims = [json.loads(line)["text"] for line in asked][:num_queries]
        queries = _unit(np.array(embed(claims)))
        parts = (_unit(np.array(embed(texts[at : at + 1000]))) for at in range(0, len(texts), 1000))
        vectors = _mapped(folder / "texts.f4", queries.shape[1], parts)
        ranks = np.random.default_rng(1).integers(1000, size=len(vectors))
        name = f"{len(vectors):,} texts as vectors of {queries.shape[1]} dimensions"
        return cls(name, vectors, queries, ranks)

    def parts(self) -> Iterator[tuple[int, Numbers]]:
        """The vectors in parts, each with the number of its first."""
        for at in range(0, len(self.vectors), _PART):
            yield at, np.ascontiguousarray(self.vectors[at : at + _PART])

    def truth(self, share: float = 1.0) -> list[set[int]]:
        """The nearest vectors of each query, of a share of all."""
        best = [(np.empty(0), np.empty(0, "i8"))] * len(self.queries)
        for at, part in self.parts():
            passing = np.flatnonzero(self.ranks[at : at + len(part)] < 1000 * share)
            all_scores = part[passing] @ self.queries.T
            for number, (scores, found) in enumerate(best):
                both = np.concatenate((scores, all_scores[:, number]))
                rows = np.concatenate((found, passing + at))
                top = np.argsort(-both, kind="stable")[:K] if len(both) <= K else _top(both)
                best[number] = both[top], rows[top]
        return [{int(one) for one in found} for _, found in best]


Find: TypeAlias = Callable[[Numbers], "list[int]"]


def _top(scores: Numbers) -> Numbers:
    top: Numbers = np.argpartition(-scores, K - 1)[:K]
    return top


def _unit(vectors: Numbers) -> Numbers:
    unit: Numbers = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("f4")
    return unit


def _mapped(path: Path, dimensions: int, parts: Iterator[Numbers]) -> Numbers:
    written = path.with_suffix(".new")  # another process may have mapped the same vectors
    with written.open("wb") as file:
        for part in parts:
            part.tofile(file)
    written.replace(path)
    return np.memmap(path, "f4", "r").reshape(-1, dimensions)
