"""Users' functions that make vectors from texts."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import pytest

from hedgerow.common.errors import ConfigurationError, EmbeddingError
from hedgerow.common.fields.embed_function import EmbedFunction, num_dimensions

HERE = __name__
returned: Any = None


def embed(texts: Sequence[str]) -> list[list[float]]:
    """Length and number of vowels."""
    return [[float(len(text)), float(sum(text.count(one) for one in "aeiou"))] for text in texts]


def give(_texts: Sequence[str]) -> Any:
    """Whatever a test has put there."""
    return returned


def refuse(_texts: Sequence[str]) -> Any:
    """Raise, as a model does that gets no text."""
    raise ValueError("no text")


async def embed_later(_texts: Sequence[str]) -> Any:
    """Cannot be used."""


class Rows:
    """A matrix, as arrays of numpy are seen from here."""

    def __init__(self, rows: list[list[float]]) -> None:
        self._rows = rows

    def __iter__(self) -> Any:
        return iter([Row(row) for row in self._rows])


class Row:
    """One row of it."""

    def __init__(self, row: list[float]) -> None:
        self._row = row

    def tolist(self) -> list[float]:
        """The numbers."""
        return self._row


def test_vectors_are_packed_as_little_endian_floats() -> None:
    """Each text gets one of the same length, in the order of the texts."""
    vectors = EmbedFunction(f"{HERE}:embed")(["tree", "a"])
    assert [struct.unpack("<2f", vector) for vector in vectors] == [(4, 2), (1, 1)]
    assert num_dimensions(vectors[0]) == 2


def test_rows_of_a_matrix_are_vectors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has `tolist`, as an array of numpy has, is read by it."""
    monkeypatch.setattr(f"{HERE}.returned", Rows([[1.0, 2.0]]))
    assert EmbedFunction(f"{HERE}:give")(["x"]) == [struct.pack("<2f", 1, 2)]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "NoneType"),
        ("vectors", "str"),
        ([], "0 vectors for 2 texts"),
        ([[1.0]], "1 vectors for 2 texts"),
        ([[1.0], [1.0, 2.0]], "several lengths"),
        ([[math.nan], [1.0]], "not finite"),
        ([[1e300], [1.0]], "not finite"),
        ([[], []], "empty"),
        ([["a"], ["b"]], "not a list of numbers"),
        ([1.0, 2.0], "not a list of numbers"),
    ],
)
def test_what_is_no_vector_is_refused(
    monkeypatch: pytest.MonkeyPatch, found: Any, reason: str
) -> None:
    """The error names the function and says what it has returned."""
    monkeypatch.setattr(f"{HERE}.returned", found)
    with pytest.raises(EmbeddingError, match=reason) as caught:
        EmbedFunction(f"{HERE}:give")(["a", "b"])
    assert f"{HERE}:give" in str(caught.value)


def test_what_the_function_raises_is_said_with_its_place() -> None:
    """The error has the exception and the user's line."""
    with pytest.raises(EmbeddingError, match=r"ValueError: no text \(test_embed_function.py:\d+"):
        EmbedFunction(f"{HERE}:refuse")(["a"])


@pytest.mark.parametrize("name", ["absent", "embed_later", "HERE"])
def test_what_cannot_be_called_is_refused_at_once(name: str) -> None:
    """A name that is missing, a coroutine function, and what is no function."""
    with pytest.raises(ConfigurationError, match=name):
        EmbedFunction(f"{HERE}:{name}")
