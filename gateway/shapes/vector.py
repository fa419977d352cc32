"""A search by the distance to a vector."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from hedgerow.gateway.shapes.doc import doc

_Number = Annotated[int, Meta(ge=1)]


class Array(Protocol):
    """An array of numpy, PyTorch or pandas, or the standard library's `array`."""

    def tolist(self) -> Any:
        """Its numbers."""


if TYPE_CHECKING:  # what a caller of the client may give
    VectorValue: TypeAlias = Sequence[float] | Array | str
else:  # what comes in: the client writes all of these as a list or as Base64
    VectorValue = list[float] | str


class VectorQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The vector to whose neighbours a search is restricted, and by which it ranks them."""

    field: Annotated[str, doc("The vector field.")]
    value: Annotated[
        VectorValue | UnsetType,
        doc("The vector: a list of numbers, or Base64 of 32-bit floats, little-endian."),
    ] = UNSET
    k: Annotated[
        _Number | None,
        doc(
            "How many neighbours are looked for; at least the hits that are wanted, which is the "
            "default. With a second phase, each shard looks for all of them; else for its share."
        ),
    ] = None
    ef: Annotated[
        _Number | None,
        doc(
            "How many documents the shards together keep in view while they look for neighbours: "
            "the more, the fewer are missed, and the longer it takes. 128 by default."
        ),
    ] = None
