"""`gateway advise`: measures a function, and answers four questions about it."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from hedgerow.common.errors import BadRequestError
from hedgerow.common.settings.cores import num_cores
from hedgerow.common.settings.settings import Settings, load_settings
from hedgerow.common.user_function import import_path
from hedgerow.gateway.advise.answers import Answer, answer
from hedgerow.gateway.advise.bench import Plan
from hedgerow.gateway.advise.figures import Figures, Kind, Machine
from hedgerow.gateway.advise.judgement import Verdict, judge
from hedgerow.gateway.advise.measure import measure
from hedgerow.gateway.advise.settings_text import language, settings_text
from hedgerow.gateway.cli.options import parse_duration_ms
from hedgerow.gateway.cli.render import folded, plain

ADVISED_AGAINST: Final = 4
_KINDS: Final = {Kind.SECOND_PHASE: "a second phase", Kind.ENRICH: "an enrich hook"}


def advise(
    function: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FUNCTION", help="The function, written as in a rank profile."
        ),
    ],
    sample: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Sample arguments: NDJSON with the arguments of one call per line (for a hook, "
            "one document), or a .py file that defines `samples`.",
        ),
    ],
    lane: Annotated[
        Literal["loop", "thread", "process"] | None,
        typer.Option(
            metavar="loop|thread|process",
            help="The lane that you have in mind; the exit code is 4 if another is advised.",
        ),
    ] = None,
    kind: Annotated[
        Literal["function", "second_phase", "enrich"] | None,
        typer.Option(
            "--as",
            metavar="function|second_phase|enrich",
            help="How the function is called.",
            show_default="as in a rank profile that names it, else by its parameters' names",
        ),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The query for a second phase, which needs one."),
    ] = None,
    documents: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Documents in each call of a hook.",
            show_default="the profile's candidates, or 100; 10 for enrich",
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Deadline of a query, which is the budget of a call: 300ms, 2s.",
            show_default="gateway.default_deadline_ms",
        ),
    ] = None,
    duration: Annotated[
        str,
        typer.Option("--time", metavar="DURATION", help="Roughly how long to measure."),
    ] = "8s",
    limit: Annotated[
        str, typer.Option(metavar="DURATION", help="A call that takes longer counts as hanging.")
    ] = "10s",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print figures and advice as JSON, for machines.")
    ] = False,
) -> None:
    """Measure your function, and say which lane it belongs in."""
    settings = load_settings()
    if not all(function.partition(":")):
        raise BadRequestError("MODULE:FUNCTION", f"{function!r} is not of the form module:function")
    profile_kind, candidates = _in_profiles(settings, function)
    machine = _machine(settings, deadline)
    plan = Plan(
        reference=function,
        samples=sample,
        import_path=import_path(),
        kind=Kind(kind) if kind else profile_kind,
        query=query,
        num_documents=documents or candidates,
        budget_s=machine.deadline_s,
        time_s=parse_duration_ms(duration) / 1000,
        limit_s=parse_duration_ms(limit) / 1000,
    )
    stderr = Console(stderr=True)
    began = time.monotonic()
    with stderr.status("") as status:
        figures = measure(plan, lambda what: status.update(f"measuring: {what}"))
    took_s = time.monotonic() - began
    verdict = judge(figures, machine)
    answers = answer(figures, verdict, machine)
    paste = settings_text(figures, verdict, machine)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(figures, machine, verdict, answers, paste)) + "\n")
    else:
        console = Console()
        console.print(report(figures, verdict, answers))
        console.print()
        # Not through rich, which would wrap the lines: this text is meant to be pasted.
        sys.stdout.write(paste + "\n")
        stderr.print(plain(f"measured for {took_s:.1f} s"), style="dim")
    if lane is not None and lane != verdict.lane:
        stderr.print(folded(f"advised against: {lane}; {verdict.lane}, because {verdict.reason}"))
        raise typer.Exit(ADVISED_AGAINST)


def _in_profiles(settings: Settings, function: str) -> tuple[Kind | None, int | None]:
    """Return the kind under which a rank profile names the function, and its candidates."""
    for profile in settings.rank_profiles.values():
        if profile.second_phase == function:
            return Kind.SECOND_PHASE, profile.candidates
        if profile.enrich == function:
            return Kind.ENRICH, None
    return None, None


def _machine(settings: Settings, deadline: str | None) -> Machine:
    deadline_ms = settings.gateway.default_deadline_ms
    return Machine(
        cores=num_cores(),
        deadline_s=(parse_duration_ms(deadline) if deadline else deadline_ms) / 1000,
        kill_grace_s=settings.worker.kill_grace_ms / 1000,
        thread_timeout_s=settings.worker.thread_timeout_s,
    )


def _as_json(
    figures: Figures, machine: Machine, verdict: Verdict, answers: Sequence[Answer], paste: str
) -> dict[str, Any]:
    return {
        "advice": asdict(verdict),
        "answers": [asdict(entry) for entry in answers],
        "figures": asdict(figures),
        "machine": asdict(machine),
        "settings": paste,
        "settings_language": language(figures),
    }


def report(figures: Figures, verdict: Verdict, answers: Sequence[Answer]) -> RenderableType:
    """Lay out the four answers, and the advice."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for entry in answers:
        table.add_row(plain(entry.question), _styled(entry.short, "bold"))
        for line in entry.figures:
            table.add_row("", _styled(line, "dim"))
    table.add_row()
    advice = folded(f"{verdict.lane}, because {verdict.reason}")
    advice.stylize("bold green", 0, len(verdict.lane))
    table.add_row(Text("the lane", style="bold"), advice)
    for number, doubt in enumerate(verdict.doubts):
        table.add_row("" if number else "but", _styled(doubt, "yellow"))
    return Group(_title(figures), Text(""), table)


def _styled(line: str, style: str) -> Text:
    text = folded(line)
    text.stylize(style)
    return text


def _title(figures: Figures) -> RenderableType:
    subject = figures.subject
    kind = _KINDS.get(subject.kind, "an async function" if subject.is_async else "a function")
    samples = f"{subject.num_samples} sample{'' if subject.num_samples == 1 else 's'}"
    if subject.num_documents:
        samples = f"{subject.num_documents} documents a call"
    return Text.assemble((str(plain(subject.reference)), "bold"), f"  {kind}, {samples}")
