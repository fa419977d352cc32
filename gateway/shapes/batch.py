"""The answer to a batch of searches."""

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from hedgerow.gateway.shapes.answer import SearchAnswer
from hedgerow.gateway.shapes.doc import doc
from hedgerow.gateway.shapes.problem import Problem


class BatchResult(msgspec.Struct, frozen=True, gc=False):
    """How one search of a batch ended: with an answer or with a problem."""

    answer: Annotated[SearchAnswer | UnsetType, doc("The answer, as to a single search.")] = UNSET
    problem: Annotated[
        Problem | UnsetType,
        doc("Why there is no answer, as for a single search; `status` is the HTTP status."),
    ] = UNSET


class BatchAnswer(msgspec.Struct, frozen=True, gc=False):
    """The answer to a batch of searches."""

    results: Annotated[list[BatchResult], doc("One for each search, in the order of `searches`.")]
    took_ms: Annotated[float, doc("Time in the gateway, in ms.")]
    deadline_ms: Annotated[float, doc("The batch's deadline, in ms.")]
