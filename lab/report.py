"""The findings as one self-contained HTML file, and as Markdown with separate pictures."""

import datetime as dt
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.harness.report import table
from lab.finding import Check, Finding, Plot, Snippet

_CHECK_COLUMNS = ("", "by arithmetic", "required", "measured", "verdict")


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the lab.

    Attributes:
        machine: on which it ran, in one line.
        command: that repeats it.
        load_average: over 5 minutes, at the start.
        took_s: its duration, in s.
        date: on which it ran.
    """

    findings: Sequence[Finding]
    machine: str
    command: str
    load_average: float
    took_s: float
    date: dt.date

    @property
    def summary(self) -> str:
        """A sentence on how many claims were seen."""
        num_met = sum(finding.is_met for finding in self.findings)
        return f"{num_met} of {len(self.findings)} experiments show what they claim"

    def introduction(self) -> list[str]:
        """The paragraphs before the experiments, in Markdown."""
        told = (
            "The lab writes this page itself, from experiments on clusters of real processes; "
            "`make lab` repeats all of them, and `make lab ONLY=name` repeats one. Each states a "
            "claim, quotes the code that matters from the source, and compares what was measured "
            "with what was expected. The claims are ratios and orders of magnitude: *by "
            "arithmetic* is what an otherwise idle machine would show, *required* leaves a margin "
            "for a busy one, and the verdict goes by what is required."
        )
        made = (
            f"Made on {self.date.isoformat()} in {self.took_s:.0f} s by `{self.command}`, on "
            f"{self.machine}; load average over 5 minutes at the start: {self.load_average:.2f}. "
            f"**{self.summary}.**"
        )
        return [told, made]


def verdict(is_met: bool) -> str:
    """The verdict in words."""
    return "seen" if is_met else "NOT SEEN"


# ---- markdown


def to_markdown(run: Run) -> str:
    """The whole document, with links to its pictures."""
    contents = "\n".join(
        f"- [{finding.title}](#{anchor(finding.title)}): {verdict(finding.is_met)}"
        for finding in run.findings
    )
    parts = ["# The lab", *run.introduction(), contents, *map(_section, run.findings)]
    return "\n\n".join(parts) + "\n"


def anchor(title: str) -> str:
    """The fragment of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _section(finding: Finding) -> str:
    parts = [
        f"## {finding.title}",
        f"`make lab ONLY={finding.name}`",
        f"**Claim.** {finding.claim}",
        finding.set_up,
        *(f"{one.where}:\n\n{_quote(one)}" for one in finding.code),
        table(_CHECK_COLUMNS, [_cells(check) for check in finding.checks]),
        *(f"![{plot.alt}]({plot.name})" for plot in finding.plots),
    ]
    if finding.columns:
        parts.append(table(finding.columns, finding.rows))
    if finding.reading:
        parts.append(finding.reading)
    return "\n\n".join(parts)


def _quote(snippet: Snippet) -> str:
    """Code by reference, which is read when the docs are built; output literally."""
    if not snippet.path:
        return f"```text\n{snippet.text}\n```"
    return (
        f"```{{literalinclude}} ../{snippet.path}\n:pyobject: {snippet.name}\n"
        ":language: python\n:dedent:\n```"
    )


def _cells(check: Check) -> Sequence[str]:
    return (check.what, check.expected, check.limit, check.measured, verdict(check.is_met))


# ---- HTML


def to_html(run: Run) -> str:
    """The whole document in one file, which needs no other resources."""
    items = "".join(
        f'<li><a href="#{finding.name}">{rich(finding.title)}</a> {_badge(finding.is_met)}</li>'
        for finding in run.findings
    )
    body = "\n".join(
        [
            "<h1>The lab</h1>",
            *(f"<p>{rich(text)}</p>" for text in run.introduction()),
            f'<ol class="contents">{items}</ol>',
            *map(_article, run.findings),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>Hedgerow: the lab</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _article(finding: Finding) -> str:
    checks = _html_table(
        "checks",
        _CHECK_COLUMNS,
        [[*map(rich, _cells(check)[:-1]), _badge(check.is_met)] for check in finding.checks],
    )
    figures = (
        _html_table("figures", finding.columns, [list(map(rich, row)) for row in finding.rows])
        if finding.columns
        else ""
    )
    reading = f"<p>{rich(finding.reading)}</p>" if finding.reading else ""
    return "\n".join(
        [
            f'<article id="{finding.name}">',
            f"<h2>{rich(finding.title)} {_badge(finding.is_met)}</h2>",
            f'<p class="claim">{rich(finding.claim)}</p>',
            f"<p>{rich(finding.set_up)}</p>",
            *map(_code, finding.code),
            checks,
            *map(_figure, finding.plots),
            figures,
            reading,
            f'<p class="again"><code>make lab ONLY={finding.name}</code></p>',
            "</article>",
        ]
    )


def _code(snippet: Snippet) -> str:
    return (
        f'<div class="code"><div class="where">{rich(snippet.where)}</div>'
        f"<pre>{html.escape(snippet.text)}</pre></div>"
    )


def _figure(plot: Plot) -> str:
    # The XML prolog belongs in a separate file only, and the metadata is not needed.
    svg = plot.svg[plot.svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    alt = html.escape(plot.alt)
    return f'<figure>{svg.replace("<svg", f"""<svg role="img" aria-label="{alt}" """, 1)}</figure>'


def _html_table(kind: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{rich(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    shown = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide {kind}">{shown}</div>'


def _badge(is_met: bool) -> str:
    return f'<span class="verdict {"seen" if is_met else "missed"}">{verdict(is_met)}</span>'


def rich(text: str) -> str:
    """Text as HTML, with the Markdown that findings use: code, bold, emphasis and links."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        f"<code>{html.escape(part[1:-1])}</code>" if part.startswith("`") else _marked(part)
        for part in parts
    )


def _marked(text: str) -> str:
    text = html.escape(text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    text = re.sub(r"\*(\S[^*]*?)\*", r"<em>\1</em>", text)
    return re.sub(r"\[([^\]]+)\]\((#[^)]+)\)", r'<a href="\2">\1</a>', text)


_STYLE = """
:root { --ink: #1f2430; --soft: #5b6270; --line: #dfe3e8; --paper: #fbfbf9; --card: #fff; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 5rem; max-width: 56rem; color: var(--ink);
  background: var(--paper); font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 2rem; margin: 0 0 1rem; }
h2 { font-size: 1.35rem; margin: 0 0 .6rem; }
a { color: #2450a8; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .86em; }
code { background: #eef0f3; border-radius: 3px; padding: .08em .3em; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  margin: 2rem 0; padding: 1.4rem 1.5rem; }
.claim { border-left: 4px solid #4269d0; margin: .8rem 0 1rem; padding: .1rem 0 .1rem .9rem;
  font-size: 1.06rem; }
.code { border: 1px solid var(--line); border-radius: 6px; margin: 1rem 0; overflow: hidden; }
.where { background: #f2f4f6; color: var(--soft); font-size: .85rem; padding: .3rem .8rem; }
pre { margin: 0; padding: .7rem .8rem; overflow-x: auto; line-height: 1.45; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .38rem .7rem .38rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
.checks td { min-width: 7.6rem; }
.checks td:last-child { min-width: 5rem; }
th { color: var(--soft); font-weight: 600; }
figure { margin: 1.2rem 0; }
figure svg { width: 100%; height: auto; display: block; }
.verdict { border-radius: 999px; font-size: .78rem; font-weight: 600; padding: .12rem .6rem;
  white-space: nowrap; vertical-align: middle; }
.seen { background: #dcf2e4; color: #1c6b3c; }
.missed { background: #fbdcd9; color: #9c241b; }
.contents li { margin: .15rem 0; }
.again { color: var(--soft); margin-bottom: 0; }
"""
