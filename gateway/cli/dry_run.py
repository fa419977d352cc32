"""What `gateway index --dry-run` does in place of loading: infers and validates, here."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from msgspec import to_builtins

from hedgerow.common.collection import Collection, define
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.gateway.client import CollectionAnswer, Definition, LoadAnswer
from hedgerow.gateway.writes.load import Intake
from hedgerow.gateway.writes.same_definition import check_same


class DryRun:
    """Takes the pieces of a load in place of a gateway, and answers as it would; keeps nothing.

    It has the limits of a gateway without settings, except for the bytes of a document.
    """

    def __init__(
        self,
        name: str,
        existing: CollectionAnswer | None,
        definition: Definition,
        max_document_bytes: int,
    ) -> None:
        """Take documents of a collection.

        Args:
            name: the collection's name.
            existing: the collection as it is; None for a new one.
            definition: that of a new one.
            max_document_bytes: the longest document.

        Raises:
            BadRequestError: the definition is invalid.
            ConflictError: the collection exists with another definition.
        """
        if existing is None:
            self._definition = define(name, definition)
        else:
            self._definition = _definition_of(existing)
            if definition:
                check_same(self._definition, definition)
        self._limits = LimitSettings(max_document_bytes=max_document_bytes)

    def index(
        self,
        collection: str,  # noqa: ARG002 - as the client's
        documents: Sequence[bytes],
        *,
        wait: Literal["logged", "applied"],  # noqa: ARG002 - likewise
        timeout_s: float,  # noqa: ARG002 - likewise
    ) -> LoadAnswer:
        """Answer as a gateway that loads these documents."""
        intake = Intake(self._definition, 1, self._limits)
        lines = iter(list(enumerate(documents, 1)))
        is_done = False
        while not is_done:
            is_done = intake.take(lines, lambda: False)
            if intake.needs_fields or (is_done and intake.has_first):
                intake.define(intake.infer())
                is_done = False
            intake.report.accepted += sum(batch.num_lines for batch in intake.batches())
        self._definition = intake.definition
        return intake.report.answer()


def _definition_of(existing: CollectionAnswer) -> Collection:
    fields = None if existing.fields is None else to_builtins(existing.fields)
    body = {"rank_profile": existing.rank_profile, "language": existing.language}
    collection = define(existing.name, body if fields is None else {**body, "fields": fields})
    if collection.fields is None:
        return collection
    return replace(collection, inferred=frozenset(existing.inferred))
