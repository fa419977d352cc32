"""Shapes of a reindex: what it copies, how far it is, and what does not fit."""

from typing import Annotated, Literal

import msgspec

from hedgerow.gateway.shapes.doc import doc


class ReindexBody(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"old": "from", "new": "to"}
):
    """What to reindex."""

    old: Annotated[str, doc("Name of the collection whose documents are copied.")]
    new: Annotated[str, doc("Name of an empty collection, which gets them.")]
    alias: Annotated[
        str, doc("Stands for `to` in the end; for `from` until then, or it does not exist yet.")
    ]
    skip_faulty: Annotated[
        bool, doc("Whether to switch though documents do not fit `to`, which then lacks them.")
    ] = False


class FaultyDocument(msgspec.Struct, frozen=True):
    """A document that does not fit the new collection."""

    id: str
    reason: Annotated[str, doc("Names the field, and says why.")]


class ReindexReport(msgspec.Struct, frozen=True, rename={"old": "from", "new": "to"}):
    """A reindex."""

    old: Annotated[str, doc("The collection whose documents are copied.")]
    new: Annotated[str, doc("The collection that gets them.")]
    alias: str
    skip_faulty: bool
    state: Annotated[
        Literal["copying", "switching", "switched", "ending", "ended", "cancelling", "cancelled"],
        doc(
            "copying: `to` gets the documents, and follows `from`; switching: it has them all, and "
            "`from` is made to follow it; switched: the alias stands for `to`, which `from` "
            "follows until it is removed or the reindex is ended; ended: they are independent; "
            "cancelled: the alias stands for what it stood for."
        ),
    ]
    running_s: Annotated[float, doc("From the beginning to the switch, or until now, in s.")]
    documents: Annotated[int, doc("Documents of `from`.")]
    copied: Annotated[int, doc("Documents of `to`; of a shard, those of its slowest replica.")]
    faulty: Annotated[int, doc("Documents of `from` that do not fit `to`, as far as is known.")]
    first_faulty: Annotated[list[FaultyDocument], doc("The first few of them, by id.")]
    copied_shards: Annotated[int, doc("Shards of which everything is copied.")]
    num_shards: Annotated[int, doc("Shards of the cluster.")]
    waits_for: Annotated[str, doc('What it waits for, in words; "" for nothing.')]
    is_stopped: Annotated[
        bool, doc("Whether it waits for an operator: documents do not fit, or numbers differ.")
    ]
    switched_at_ms: Annotated[int | None, doc("In ms since 1970; null before the switch.")]
    ended_at_ms: Annotated[int | None, doc("In ms since 1970; null until then.")]
    error: Annotated[str | None, doc("Why it was given up; null if it was not.")]


class ReindexAnswer(msgspec.Struct, frozen=True):
    """The last reindex."""

    reindex: Annotated[ReindexReport | None, doc("null if there was none yet.")]
