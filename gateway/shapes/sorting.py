"""The order of a search's hits."""

from typing import Annotated, Literal, TypeAlias

import msgspec

from hedgerow.gateway.shapes.doc import doc


class SortBy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one key orders the hits."""

    order: Annotated[Literal["asc", "desc"], doc("Smallest or largest value first.")] = "asc"
    missing: Annotated[Literal["first", "last"], doc("Where documents without a value come.")] = (
        "last"
    )


SortKey: TypeAlias = str | dict[str, Literal["asc", "desc"] | SortBy]


class NextPage(msgspec.Struct, frozen=True):
    """Where the next page begins, and what the pages up to this one leave out."""

    cursor: Annotated[
        str | None, doc("Send it as `search_after` for the next page; null after the last.")
    ]
    is_whole: Annotated[
        bool,
        doc(
            "Whether each document that has matched all the time, and was not changed, is on "
            "exactly one page, up to this one."
        ),
    ]
    reasons: Annotated[list[str], doc("Why that cannot be promised.")]
