"""Vectors on the command line: how they are written."""

from pathlib import Path

import msgspec
import typer

from hedgerow.gateway.client import VectorQuery

_FORM = "FIELD=[0.1,0.2,…], FIELD=BASE64, FIELD=@FILE with either, or FIELD alone"


def parse_vector(
    text: str | None, k: int | None = None, ef: int | None = None
) -> VectorQuery | None:
    """Read a vector: `FIELD=[0.1, 0.2]`, `FIELD=BASE64`, or `FIELD=@FILE` with either in a file.

    `FIELD` alone is for a vector that the gateway makes of the query.

    Args:
        text: what was written; None for no vector.
        k: how many neighbours are looked for.
        ef: how many documents the shards keep in view.

    Raises:
        typer.BadParameter: it is written in another way, there is no such file, or there are
            numbers without a vector.
    """
    if text is None:
        for option, number in (("--neighbours", k), ("--ef", ef)):
            if number is not None:
                raise typer.BadParameter(f"{option} applies with --vector only")
        return None
    field, separator, value = text.partition("=")
    if field and not separator:
        return VectorQuery(field, k=k, ef=ef)
    if not field or not value:
        raise typer.BadParameter(f"{text[:40]!r} is not {_FORM}")
    if value.startswith("@"):
        try:
            value = Path(value[1:]).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise typer.BadParameter(f"{value[1:]}: {reason}") from error
    if not value.startswith("["):
        return VectorQuery(field, value.strip('"'), k, ef)
    try:
        return VectorQuery(field, msgspec.json.decode(value, type=list[float]), k, ef)
    except msgspec.DecodeError as error:
        raise typer.BadParameter(f"the vector of {field} is no list of numbers: {error}") from error
