"""Collects what the reports of a load's pieces say of its fields, by the lines of the source."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from hedgerow.gateway.cli.loading.lines import Line
from hedgerow.gateway.client import FieldWarning, LoadAnswer


@dataclass(frozen=True)
class FoundField:
    """How a field was inferred.

    Attributes:
        name: the field.
        type: its type; "stored only" if it has none.
        why: the reason, with the line that decided.
    """

    name: str
    type: str
    why: str


@dataclass(frozen=True)
class Finding:
    """A field with values that are not indexed; `first` names the first document with one."""

    warning: FieldWarning
    first: str

    def __str__(self) -> str:
        name, reason, count = self.warning.field, self.warning.reason, self.warning.documents or 0
        documents = f"{count:,} document{'' if count == 1 else 's'}"
        match self.warning.effect:
            case "stored_only":
                text = f"{name} is stored only, so no query finds it: {reason}"
            case "not_indexed":
                text = f"{name} {reason} in {documents}: stored, but not indexed"
            case "rejected":
                text = f"{name} {reason}: {documents} rejected"
        return f"{text} (first: {self.first})"


class FieldFindings:
    """What the reports say, with each field once."""

    def __init__(self) -> None:
        self.inferred: list[FoundField] = []
        self._found: dict[tuple[str, str], Finding] = {}

    def add(self, report: LoadAnswer, piece: Sequence[Line]) -> None:
        """Add the report of a piece of the source."""
        for one in report.inference or ():
            where = "" if one.line is None else f" ({piece[one.line - 1].name})"
            self.inferred.append(FoundField(one.field, one.type or "stored only", one.why + where))
        for warning in report.field_warnings:
            key = warning.field, warning.effect
            earlier = self._found.get(key)
            if earlier is None:
                self._found[key] = Finding(warning, piece[warning.line - 1].name)
            elif warning.documents is not None:
                total = (earlier.warning.documents or 0) + warning.documents
                self._found[key] = Finding(replace(earlier.warning, documents=total), earlier.first)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found.values())
