"""A search by the distance to a vector."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from hedgerow.gateway.shapes.doc import doc

_Number = Annotated[int, Meta(ge=1)]


class VectorQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The vector to whose neighbours a search is restricted, and by which it ranks them."""

    field: Annotated[str, doc("The vector field.")]
    value: Annotated[
        list[float] | str | UnsetType,
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
