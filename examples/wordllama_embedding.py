"""Embeds texts with WordLlama, whose smallest model lies in its package: nothing is downloaded.

`pip install wordllama` (MIT, 19 MB). A vector has 256 dimensions, and is the mean of the vectors of
the text's tokens, so that a text takes some 20 µs, on one core and without a GPU.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import wordllama
from wordllama.inference import WordLlamaInference


def embed(texts: Sequence[str]) -> list[list[float]]:
    """A vector of 256 dimensions, of length 1, for each text."""
    vectors: list[list[float]] = _model().embed(list(texts), norm=True).tolist()
    return vectors


@cache
def _model() -> WordLlamaInference:
    # The package looks for its own files in the cache, and otherwise downloads them.
    return wordllama.WordLlama.load(
        cache_dir=Path(wordllama.__file__).parent, disable_download=True
    )
