"""A user's function that makes vectors from texts: called, and its result checked and packed."""

import inspect
import math
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from hedgerow.common.errors import ConfigurationError, EmbeddingError
from hedgerow.common.user_function import find_function, last_line, raised_at

_LONGEST_ERROR: Final = 400  # characters of what the function raised, which goes into answers
_FLOAT_BYTES: Final = 4


class EmbedFunction:
    """A function that takes a list of texts and returns a vector for each, resolved."""

    def __init__(self, reference: str) -> None:
        """Import the function that `reference` names.

        Raises:
            ConfigurationError: it does not exist, or cannot be used; names it and the reason.
        """
        self._reference = reference
        try:
            self._function: Callable[[list[str]], Any] = find_function(reference)
        except ConfigurationError as error:
            raise ConfigurationError(f"{reference}: {error}") from error
        if inspect.iscoroutinefunction(self._function):
            raise ConfigurationError(f"{reference}: is async; it runs outside of the event loop")

    def __call__(self, texts: Sequence[str]) -> list[bytes]:
        """Embed some texts.

        Returns:
            For each text a vector of little-endian float32, all of the same length and finite.

        Raises:
            EmbeddingError: the function raised, or returned something else.
        """
        try:
            found = self._function(list(texts))
            rows = list(found) if isinstance(found, Iterable) else None
        except (Exception, SystemExit) as error:
            # Users' code can raise anything; it is the text's fault, or the function's.
            where = raised_at(error)
            raised = f"{self._reference} raised {last_line(error)[:_LONGEST_ERROR]}"
            raise EmbeddingError(f"{raised} ({where})" if where else raised) from error
        if rows is None or isinstance(found, str | bytes):
            raise EmbeddingError(
                f"{self._reference} returned {type(found).__name__}, not a list of vectors"
            )
        if len(rows) != len(texts):
            raise EmbeddingError(
                f"{self._reference} returned {len(rows)} vectors for {len(texts)} texts"
            )
        vectors = [self._packed(row) for row in rows]
        if len({len(vector) for vector in vectors}) > 1:
            raise EmbeddingError(f"{self._reference} returned vectors of several lengths")
        return vectors

    def _packed(self, row: Any) -> bytes:
        # Arrays of numpy, and tensors, become lists faster than they are read number by number.
        values = row.tolist() if hasattr(row, "tolist") else row
        try:
            vector = array("f", values)
        except (TypeError, ValueError, OverflowError) as error:
            raise EmbeddingError(
                f"{self._reference} returned {type(row).__name__} as a vector, not a list of "
                "numbers"
            ) from error
        if not vector or not all(map(math.isfinite, vector)):
            what = "a number that is not finite" if vector else "an empty vector"
            raise EmbeddingError(f"{self._reference} returned {what}")
        if sys.byteorder == "big":
            vector.byteswap()
        return vector.tobytes()


def num_dimensions(vector: bytes) -> int:
    """How many numbers a packed vector has."""
    return len(vector) // _FLOAT_BYTES
