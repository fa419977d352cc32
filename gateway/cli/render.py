"""Lays out typed results for a terminal, with rich. Pure."""

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import unescape
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hedgerow.common.observability.printable import printable
from hedgerow.gateway.shapes.answer import Hit, SearchAnswer

_TITLE_FIELDS: Final = ("title", "name", "headline", "subject", "label", "path", "url")
_TEXT_FIELDS: Final = ("text", "abstract", "summary", "description", "body", "content", "doc")
WIDEST: Final = 120  # of a picture, in characters
_PIPED_WIDTH: Final = 10_000  # more than any table needs
_ROOM_FOR_DOCUMENT: Final = 45  # with rank and score
_SNIPPET_CHARS: Final = 400  # more than any terminal shows on one line
_SHOWN_SNIPPETS: Final = 2  # of each field
_TAG: Final = re.compile("</?em>")
_STYLES: Final = {
    "ok": "green",
    "skipped": "dim",
    "cancelled": "dim",
    "breaker_open": "yellow",
    "closed": "green",
    "half_open": "yellow",
    "open": "red",
    "forced_open": "red",
    "disabled": "dim",
}


def output() -> Console:
    """Make a console for standard output; what is piped is as wide as its content needs."""
    console = Console()
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(width=_PIPED_WIDTH)


def plain(text: object) -> Text:
    """Make one line that is safe for the terminal: no markup, no control characters."""
    return Text(printable(str(text)), no_wrap=True, overflow="ellipsis")


def folded(text: object) -> Text:
    """As `plain`, but folded over several lines if one is too short."""
    shown = plain(text)
    shown.no_wrap, shown.overflow = False, "fold"
    return shown


def styled(word: str) -> Text:
    """Colour an outcome or a breaker's state, which is readable without colour too."""
    text = plain(word)
    text.stylize(_STYLES.get(word, "red"))
    return text


# Columns of what is there to be copied: other columns give way to them.
_NEVER_SPLIT: Final = frozenset({"fingerprint", "key", "worker"})


def table_of(*columns: str, right: Collection[str] = ()) -> Table:
    """Make a table without lines; the columns named in `right` are right-aligned."""
    made = Table(
        box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), header_style="dim"
    )
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="fold",
            no_wrap=column in _NEVER_SPLIT,
        )
    return made


def local_time(instant_ms: int, form: str) -> str:
    """Write an instant, in ms since 1970, in this machine's time zone."""
    return datetime.fromtimestamp(instant_ms / 1000, UTC).astimezone().strftime(form)


def hits_table(result: SearchAnswer) -> RenderableType:
    """Lay out the hits: rank, score, id, and the document's title, text and other fields."""
    return _Hits(result.hits) if result.hits else Text("no hits", style="dim")


class _Hits:
    """The hits as a table; or, if ids leave no room for documents beside them, one below another.

    An id is there to be copied, so it is never split.
    """

    def __init__(self, hits: Sequence[Hit]) -> None:
        self._hits = hits

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        longest = max(len(plain(hit.id)) for hit in self._hits)
        if longest + _ROOM_FOR_DOCUMENT <= options.max_width:
            yield _hits_in_columns(self._hits)
            return
        for rank, hit in enumerate(self._hits, 1):
            line = Text(f"{rank}  {hit.score:.4f}  ", no_wrap=True, overflow="ignore")
            yield line.append(plain(hit.id).plain, style="bold")
            yield Padding(_document(hit), (0, 0, 0, 3))


def _hits_in_columns(hits: Iterable[Hit]) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("#", justify="right", style="dim")
    table.add_column("score", justify="right")
    table.add_column("id", no_wrap=True, style="bold")
    table.add_column("document", ratio=1)
    for rank, hit in enumerate(hits, 1):
        table.add_row(str(rank), f"{hit.score:.4f}", plain(hit.id), _document(hit))
    return table


def marked(snippet: str) -> Text:
    """Make one line of a snippet with the default tags, which become bold."""
    line = Text(no_wrap=True, overflow="ellipsis")
    for number, part in enumerate(_TAG.split(snippet)):
        # Every second part stands between tags, which no document's text can contain.
        line.append_text(Text(printable(unescape(part)), style="bold" if number % 2 else ""))
    return line


def _document(hit: Hit) -> RenderableType:
    if isinstance(hit.highlights, dict) and hit.highlights:
        return _highlighted(hit, hit.highlights)
    if hit.fields is None:
        return Text("(no fields)", style="dim")
    words = {name: value for name, value in hit.fields.items() if isinstance(value, str) and value}
    title = _first(words, _TITLE_FIELDS)
    snippet = _first({name: text for name, text in words.items() if name != title}, _TEXT_FIELDS)
    lines = []
    if title:
        lines.append(plain(words[title][:_SNIPPET_CHARS]))
    if snippet:
        lines.append(plain(words[snippet][:_SNIPPET_CHARS]))
        lines[-1].stylize("dim")
    rest = {name: hit.fields[name] for name in hit.fields if name not in {"id", title, snippet}}
    if not lines and rest:
        lines.append(plain(", ".join(f"{name}={value}" for name, value in rest.items())))
    return Group(*lines) if lines else Text("(empty)", style="dim")


def _highlighted(hit: Hit, highlights: Mapping[str, Sequence[str]]) -> RenderableType:
    """The document's title and what matched in its other texts."""
    words = {name: value for name, value in (hit.fields or {}).items() if isinstance(value, str)}
    title = next((name for name in _TITLE_FIELDS if name in words or name in highlights), None)
    lines = []
    if title is not None and title in highlights:
        lines.append(marked(highlights[title][0]))
    elif title is not None:
        lines.append(plain(words[title][:_SNIPPET_CHARS]))
    for name, snippets in highlights.items():
        if name != title:
            lines += [marked(snippet) for snippet in snippets[:_SHOWN_SNIPPETS]]
    return Group(*lines)


def _first(words: Mapping[str, str], preferred: tuple[str, ...]) -> str | None:
    """Return the first of the preferred names that is present, else any."""
    for name in preferred:
        if name in words:
            return name
    return next((name for name in words if name != "id"), None)


def coverage_line(result: SearchAnswer) -> Text:
    """Say in one line how much was searched, by how many shards, and how fast."""
    coverage, total = result.coverage, result.total_hits
    line = Text("coverage ")
    line.append(percent(coverage.fraction), style="green" if coverage.is_full else "yellow")
    documents = counted(coverage.documents_total, "document")
    # Shards without a match were searched too, as far as a reader is concerned; --explain tells.
    num_searched = result.shards.ok + result.shards.skipped
    line.append(f" of {documents} (shards: {num_searched} ok")
    if coverage.degraded:
        line.append(", ").append(degraded(result), style="yellow")
    if coverage.exact:
        line.append("; the hits are exact")
    line.append(f"); {total.value:,}{'' if total.relation == 'eq' else '+'} found; ")
    digits = 0 if result.took_ms >= 10 else 1
    return line.append(f"{result.took_ms:.{digits}f} ms")


def counted(count: int, what: str) -> str:
    """Write a number and what it counts, in the singular or the plural."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def percent(fraction: float) -> str:
    """Write a share so that only 1 reads 100 %."""
    shown = min(fraction * 100, 99.9) if fraction < 1 else 100.0
    return f"{shown:.1f} %"


def degraded(result: SearchAnswer) -> str:
    """Count the shards that were not searched, by outcome."""
    return ", ".join(
        f"{count} {outcome}" for outcome, count in sorted(result.coverage.degraded.items())
    )


def ranges(shards: Iterable[int]) -> str:
    """Write shards as in 0-3,7; they are ascending."""
    parts: list[list[int]] = []
    for shard in shards:
        if parts and parts[-1][-1] == shard - 1:
            parts[-1][1:] = [shard]
        else:
            parts.append([shard])
    return ",".join("-".join(map(str, part)) for part in parts)
