"""Facets, orders and pages on the command line: how they are written, and how they are shown."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, get_args

import typer
from msgspec import structs
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from hedgerow.gateway.cli.render import plain, table_of
from hedgerow.gateway.client import Facet, FacetAnswer, FacetRange, NextPage, SortBy
from hedgerow.gateway.shapes.facets import DEFAULT_SIZE, Choice, FacetBucket, FacetStats, Unit

_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")


def parse_facets(texts: Iterable[str]) -> dict[str, Facet | Mapping[str, Any]] | None:
    """Read facets: `FIELD`, `FIELD:10`, `FIELD:..10,10..20,20..`, `FIELD:every=10` and others.

    A field has one facet. Its statistics may be added to that, as in a search.

    Returns:
        None if there are none, so that the gateway is not asked.
    """
    facets: dict[str, Facet] = {}
    with_stats: list[str] = []
    for text in texts:
        name, _, how = text.partition(":")
        if how == "stats":
            with_stats.append(name)
        elif name in facets:
            raise typer.BadParameter(f"{text!r}: {name} has another facet; only stats can be added")
        else:
            facets[name] = _facet(text, how)
    return {**facets, **{name: _with_stats(facets.get(name)) for name in with_stats}} or None


def _with_stats(facet: Facet | None) -> Facet:
    if facet is None:
        return Facet(stats=True)
    # Without a size, statistics would take the place of the values.
    by_value = facet.size is None and not facet.ranges and facet.histogram is None
    return structs.replace(facet, stats=True, size=DEFAULT_SIZE if by_value else facet.size)


def _facet(text: str, how: str) -> Facet:
    if not how:
        return Facet()
    if how.isdecimal():
        return Facet(size=int(how))
    for unit in get_args(Unit):
        if how == unit:
            return Facet(histogram=unit)
    every = how.removeprefix("every=")
    if every != how and _NUMBER.fullmatch(every):
        return Facet(histogram=float(every))
    if ".." in how:
        return Facet(ranges=tuple(_range(part) for part in how.split(",")))
    raise typer.BadParameter(
        f"{text!r} is not a facet such as brand, brand:10, price:..10,10..20,20.., year:every=10, "
        "sold:month or price:stats"
    )


def parse_refine(texts: Iterable[str]) -> dict[str, list[Choice | Mapping[str, Any]]] | None:
    """Read choices: `FIELD:VALUE`, `FIELD:FROM..TO`, `FIELD:"TEXT"`; a field may be repeated.

    Returns:
        None if there are none.
    """
    refine: dict[str, list[Choice | Mapping[str, Any]]] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not (name and colon):
            raise typer.BadParameter(f"{text!r} is not a choice such as brand:acme or price:10..20")
        refine.setdefault(name, []).append(_choice(value))
    return refine or None


def _choice(text: str) -> Choice:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    if ".." in text:
        return _range(text)
    value = _bound(text)
    return "" if value is None else value


def _range(text: str) -> FacetRange:
    start, _, end = text.partition("..")
    return FacetRange(_bound(start), _bound(end))


def _bound(text: str) -> float | str | None:
    text = text.strip()
    if not text:
        return None
    if _NUMBER.fullmatch(text):
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    return text


def parse_sort(
    texts: Iterable[str],
) -> list[str | Mapping[str, Literal["asc", "desc"] | SortBy]] | None:
    """Read sort keys: `FIELD`, `FIELD:desc`, `FIELD:desc:first`, `_score`; commas between them.

    Returns:
        None if there are none.
    """
    keys: list[str | Mapping[str, Literal["asc", "desc"] | SortBy]] = []
    for text in (part.strip() for one in texts for part in one.split(",")):
        match text.split(":"):
            case [name]:
                keys.append(name)
            case [name, "asc" | "desc" as order]:
                keys.append({name: order})
            case [name, "asc" | "desc" as order, "first" | "last" as missing]:
                keys.append({name: SortBy(order, missing)})
            case _:
                raise typer.BadParameter(
                    f"{text!r} is not a sort key such as price, price:desc, price:desc:first or "
                    "_score"
                )
    return keys or None


def facet_tables(facets: Mapping[str, FacetAnswer]) -> Iterable[RenderableType]:
    """Lay out the counts, one facet below another."""
    for name, answer in facets.items():
        yield Text.assemble(plain(name), (_doubts(answer), "dim"))
        if answer.buckets is not None:
            table = table_of("", "documents", right=("documents",))
            for bucket in answer.buckets:
                table.add_row(plain(_label(bucket)), _count(bucket))
            if answer.other:
                table.add_row(Text("others", style="dim"), str(answer.other))
            yield _indented(table)
        if answer.stats is not None:
            yield _indented(plain(_summary(answer.stats)))


def _indented(shown: RenderableType) -> Padding:
    # Not expanded: what is piped would end in spaces.
    return Padding(shown, (0, 0, 0, 2), expand=False)


def _summary(stats: FacetStats) -> str:
    if not stats.count:
        return "no values"
    mean = "" if stats.mean is None else f", mean {stats.mean:.6g}"
    return f"{stats.count} values from {stats.min} to {stats.max}{mean}"


def _doubts(answer: FacetAnswer) -> str:
    if answer.is_exact:
        return ""
    if answer.not_searched:
        return f" (not exact; {answer.not_searched} documents were not searched)"
    return " (not exact)"


def _count(bucket: FacetBucket) -> str:
    return f"{bucket.count} to {bucket.count + bucket.error}" if bucket.error else str(bucket.count)


def _label(bucket: FacetBucket) -> str:
    if isinstance(bucket.value, bool):
        return str(bucket.value).lower()
    if bucket.value is not None:
        return str(bucket.value)
    start = "" if bucket.from_ is None else bucket.from_
    end = "" if bucket.to is None else bucket.to
    return f"{start} .. {end}"


def next_page_line(page: NextPage) -> Text:
    """Say how to get the next page; a cursor is there to be copied, so it is not cut."""
    if page.cursor is None:
        return Text("no more hits", style="dim")
    return Text(f"next page: --after {page.cursor}", no_wrap=True, overflow="ignore")
