"""Shapes of a split: how far it is, and how the last one has ended."""

from typing import Annotated, Literal

import msgspec

from hedgerow.gateway.shapes.doc import doc


class RunningSplit(msgspec.Struct, frozen=True):
    """The split in progress."""

    from_shards: int
    to_shards: int
    state: Annotated[
        Literal["copying", "sealed", "switched", "retiring", "removing", "abandoning"],
        doc(
            "copying: the new shards are filled; sealed, switched: writes are held back while the "
            "gateways change over; retiring, removing: the new shards serve, and the old ones are "
            "removed; abandoning: the new shards are removed."
        ),
    ]
    running_s: Annotated[float, doc("Since it began, in s.")]
    copied_shards: Annotated[int, doc("Old shards that are copied, or left to clones.")]
    waits_for: Annotated[str, doc("What it waits for, in words.")]
    fell_back: Annotated[
        str | None,
        doc(
            "Why the last attempt to change over was given up, to be made again, or why the split "
            "is being abandoned."
        ),
    ]


class LastSplit(msgspec.Struct, frozen=True):
    """A split that has ended, or whose new shards serve."""

    from_shards: int
    to_shards: int
    took_s: Annotated[float, doc("Until the new shards served, or it was abandoned, in s.")]
    writes_held_s: Annotated[float, doc("How long writes were held back, in s.")]
    ended_at_ms: Annotated[int, doc("In ms since 1970.")]
    error: Annotated[str | None, doc("Why it was abandoned; null if it is done.")]


class SplitAnswer(msgspec.Struct, frozen=True):
    """The number of shards, and the split that changes it."""

    version: Annotated[int, doc("Each step of a split adds 1; 0 before the first split.")]
    num_shards: Annotated[int, doc("Shards of the cluster.")]
    split: Annotated[RunningSplit | None, doc("The split in progress; null if there is none.")]
    last_split: Annotated[LastSplit | None, doc("null before the first split.")]
