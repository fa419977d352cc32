"""Hybrid searches on the command line: how they are written, and how their legs are shown."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Literal, TypeGuard, get_args

import typer
from rich.table import Table

from hedgerow.gateway.cli.render import percent, plain, table_of
from hedgerow.gateway.client import Hybrid, Leg, LegWeights
from hedgerow.gateway.shapes.hybrid import DEFAULT_RRF_K

Method = Literal["scores", "rrf"]

_EXAMPLES: Final = "scores, scores:text=1,vector=5, rrf:k=10 or scores:candidates=200"


def parse_hybrid(text: str | None) -> Hybrid | None:
    """Read how two rankings are fused: `METHOD`, or `METHOD:NAME=VALUE,…`.

    The names are k, candidates, and text and vector for the weights of the legs.
    """
    if text is None:
        return None
    method, _, rest = text.partition(":")
    if not _is_method(method):
        raise typer.BadParameter(f"{text!r} is not a fusion such as {_EXAMPLES}")
    given = dict(part.partition("=")[::2] for part in filter(None, rest.split(",")))
    if given.keys() <= {"k", "candidates", "text", "vector"}:
        with suppress(ValueError):
            candidates, vector = given.get("candidates"), given.get("vector")
            return Hybrid(
                method,
                int(given.get("k", DEFAULT_RRF_K)),
                LegWeights(float(given.get("text", 1)), None if vector is None else float(vector)),
                None if candidates is None else int(candidates),
            )
    raise typer.BadParameter(f"{text!r} is not a fusion such as {_EXAMPLES}")


def _is_method(text: str) -> TypeGuard[Method]:
    return text in get_args(Method)


def legs_table(legs: Mapping[str, Leg]) -> Table:
    """Lay out the legs: coverage, hits, time, and why one is left out."""
    table = table_of(
        "leg", "coverage", "candidates", "ms", "", right=("coverage", "candidates", "ms")
    )
    for name, leg in legs.items():
        table.add_row(
            plain(name),
            percent(leg.coverage.fraction),
            str(leg.candidates),
            f"{leg.took_ms:.1f}",
            plain(f"left out: {leg.left_out}" if leg.left_out else ""),
        )
    return table
