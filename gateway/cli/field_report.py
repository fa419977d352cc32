"""Prints what a load has found out about the fields of a collection."""

import sys
from collections.abc import Iterable

from rich.table import Table

from hedgerow.common.observability.printable import printable
from hedgerow.gateway.cli.loading.field_findings import FieldFindings, FoundField
from hedgerow.gateway.cli.render import folded, output, table_of


def report_fields(collection: str, findings: FieldFindings) -> None:
    """Print the inferred fields, and a warning for each field with values that are not indexed."""
    if findings.inferred:
        sys.stdout.write(f"{collection}: fields, inferred from the first documents:\n")
        output().print(inferred_table(findings.inferred))
    for finding in findings:
        sys.stderr.write(f"gateway: warning: {printable(str(finding))}\n")


def inferred_table(fields: Iterable[FoundField]) -> Table:
    """Lay out inferred fields, with type and reason."""
    table = table_of("field", "type", "why")
    for field in fields:
        table.add_row(folded(field.name), folded(field.type), folded(field.why))
    return table
