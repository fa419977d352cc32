"""Vectors: how a field of them is defined, which values it takes, and how one is packed.

A vector is packed as 32-bit floats, little-endian. In a stored document it is the Base64 of that,
which takes a quarter of the bytes of a list of numbers, and may be given in that form, too.
"""

import math
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.embedding import EMBED, FROM, Embedding, read_embedding

MAX_DIMENSIONS: Final = 4096
_BYTES: Final = 4  # of a number
_NUMBERS: Final = frozenset({int, float})
_MEMBERS: Final = ("type", "dimensions", "metric", "quantisation", EMBED, FROM)


class Metric(StrEnum):
    """How the score of a vector follows from the query's; larger is nearer."""

    COSINE = "cosine"  # the product of both, divided by their lengths
    DOT = "dot"  # the product
    L2 = "l2"  # minus the square of the distance


class Quantisation(StrEnum):
    """What the index of a field keeps of each number; scores are of the vectors as given."""

    NONE = "none"
    INT8 = "int8"


class VectorField(NamedTuple):
    """A field of vectors.

    Attributes:
        dimensions: the numbers of each vector.
        metric: how they are compared.
        quantisation: of the index.
        embedding: makes the vectors of documents that have none; None if nothing does.
    """

    dimensions: int
    metric: Metric = Metric.COSINE
    quantisation: Quantisation = Quantisation.NONE
    embedding: Embedding | None = None

    @property
    def num_bytes(self) -> int:
        """The size of a packed vector."""
        return self.dimensions * _BYTES

    def to_json(self) -> dict[str, Any]:
        """The field's members but its type, as `read_vector_field` takes them."""
        members: dict[str, Any] = {
            "dimensions": self.dimensions,
            "metric": str(self.metric),
            "quantisation": str(self.quantisation),
        }
        return members if self.embedding is None else members | self.embedding.to_json()

    def pack(self, value: Any) -> bytes:
        """Pack a document's or a query's vector: a list of numbers, or Base64.

        Raises:
            ValueError: it is none of this field; the message is a clause with the reason.
        """
        return self.checked(_of_base64(value) if type(value) is str else self._of_list(value))

    def checked(self, packed: bytes) -> bytes:
        """Return a packed vector of this field.

        Raises:
            ValueError: it cannot be compared; the message is a clause with the reason.
        """
        if len(packed) != self.num_bytes:
            raise ValueError(
                f"has {len(packed) // _BYTES} numbers; the field has {self.dimensions} dimensions"
            )
        numbers = _numbers(packed)
        # A sum of as many 32-bit floats stays finite in 64 bits.
        if not math.isfinite(sum(numbers)):
            raise ValueError("has a number that is not finite in 32 bits")
        if self.metric is Metric.COSINE and not any(numbers):
            raise ValueError("has no direction: all numbers are 0")
        return packed

    def _of_list(self, value: Any) -> bytes:
        # For a list of numbers, these are passes in C.
        if type(value) not in (list, tuple) or not _NUMBERS.issuperset(map(type, value)):
            raise ValueError(f"is not a list of {self.dimensions} numbers, or their Base64")
        try:
            numbers = array("f", value)
        except OverflowError:
            raise ValueError("has a number that is not finite in 32 bits") from None
        return _little(numbers).tobytes()


def _of_base64(text: str) -> bytes:
    try:
        packed = b64decode(text, validate=True)
    except ValueError:
        raise ValueError("is not Base64 of 32-bit floats, little-endian") from None
    if len(packed) % _BYTES:
        raise ValueError("is not Base64 of 32-bit floats: there is a part of one left")
    return packed


def stored_form(packed: bytes) -> str:
    """A packed vector as a stored document has it."""
    return b64encode(packed).decode()


def shown_form(value: Any) -> Any:
    """A stored vector as a list of numbers; any other value as it is."""
    if type(value) is not str:
        return value
    try:
        return _numbers(b64decode(value, validate=True)).tolist()
    except ValueError:
        return value


def _numbers(packed: bytes) -> "array[float]":
    return _little(array("f", packed))


def _little(numbers: "array[float]") -> "array[float]":
    if sys.byteorder != "little":
        numbers.byteswap()
    return numbers


def read_vector_field(name: str, body: Mapping[str, Any]) -> VectorField:
    """Read the definition of a vector field.

    Args:
        name: the field's, for errors.
        body: its members.

    Raises:
        BadRequestError: names the member and the reason.
    """
    for key in body:
        if key not in _MEMBERS:
            raise BadRequestError(
                f"fields.{name}.{key}", f"is unknown; a vector has {', '.join(_MEMBERS)}"
            )
    dimensions = body.get("dimensions")
    if type(dimensions) is not int or not 1 <= dimensions <= MAX_DIMENSIONS:
        raise BadRequestError(
            f"fields.{name}.dimensions", f"should be a whole number from 1 to {MAX_DIMENSIONS}"
        )
    return VectorField(
        dimensions,
        Metric(_one_of(Metric, name, "metric", body, Metric.COSINE)),
        Quantisation(_one_of(Quantisation, name, "quantisation", body, Quantisation.NONE)),
        read_embedding(name, body),
    )


def _one_of(
    kind: type[StrEnum], name: str, member: str, body: Mapping[str, Any], default: str
) -> str:
    value = body.get(member, default)
    if not isinstance(value, str) or value not in set(kind):
        raise BadRequestError(f"fields.{name}.{member}", f"should be one of {', '.join(kind)}")
    return value
